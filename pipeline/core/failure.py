"""A fault in a line and an exit status, for whoever started the program."""

import _thread
import errno
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from pipeline.core.errors import PipelineError, SettingsError

FULL_DISK = "the disk is full: nothing half-written was left; make room and run the same command again"
NOTHING_HALF = "nothing half-written was left"
BEGINS_ANEW = f"{NOTHING_HALF}, and it begins anew"
STOPPED, ENDED = 130, 143  # what a shell gives after Ctrl-C, and after SIGTERM
NO_MEMORY = "not enough memory: nothing half-written was left; free some, or give smaller sizes in params.yaml"
SOON = 0.05  # seconds
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # how torch says it


class Ended(KeyboardInterrupt):
    """The program was asked to end by SIGTERM; handled as Ctrl-C is."""


def heed_signals() -> None:
    """Has SIGTERM stop the program as Ctrl-C does, so that nothing half-written stays."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    with suppress(ValueError):  # not in the main thread: a program of somebody else's, who heeds his own signals
        signal.signal(signal.SIGTERM, end)


def ignore_signals() -> None:
    """From now on nothing stops the program: it is ending."""
    with suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def keeping(what: str | Callable[[], str]) -> Iterator[None]:
    """Says what is kept, should the block be stopped by Ctrl-C or SIGTERM.

    Args:
        what: a clause, or what makes it then.

    >>> try:
    ...     with keeping("3 runs are kept"):
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt as stop:
    ...     print(*stopped(stop))
    stopped; 3 runs are kept: run the same command again 130
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if not stop.args:
            stop.args = (what if isinstance(what, str) else what(),)
        raise


def stopped(error: BaseException) -> tuple[str, int]:
    """What the program says when it was stopped, and its exit status."""
    kept = error.args[0] if isinstance(error, KeyboardInterrupt) and error.args else NOTHING_HALF
    return f"stopped; {kept}: run the same command again", ENDED if isinstance(error, Ended) else STOPPED


def heed_destructors() -> None:
    """Makes a Ctrl-C stop the program also where Python would print and forget it, for it fell into a destructor."""
    sys.unraisablehook, sys.excepthook = _heed, _print


def _print(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """As Python does, but not what a destructor of HDF5's raised: Cython prints it here before it hands it to _heed."""
    if traceback is None or not traceback.tb_frame.f_code.co_filename.startswith("h5py/"):
        sys.__excepthook__(kind, error, traceback)


def _heed(unraisable: "sys.UnraisableHookArgs") -> None:
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        again = threading.Timer(SOON, _thread.interrupt_main)  # from here, or within this, it would be lost again
        again.daemon = True
        again.start()
    elif "h5py" not in repr(unraisable.object):  # what HDF5 could not write is an error where it writes (core.files)
        sys.__unraisablehook__(unraisable)


def explain(error: BaseException) -> tuple[str, int] | None:
    """What a fault that a user can mend says, and the status that the program exits with.

    Returns:
        The line, and 1, or 2 where the settings or a name are at fault; None where the program itself is.

    >>> explain(SettingsError("unknown head 'a'")), explain(ZeroDivisionError())
    (("unknown head 'a'", 2), None)
    """
    if isinstance(error, PipelineError):
        return str(error), 2 if isinstance(error, SettingsError) else 1
    # Libraries wrap what the system says in errors of their own.
    if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        return NO_MEMORY, 1
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        return FULL_DISK, 1
    return (" ".join(str(error).split()), 1) if isinstance(error, OSError) else None
