"""A fault in a line and an exit status, for whoever started the program."""

import _thread
import errno
import sys
import threading
from types import TracebackType

from pipeline.core.errors import PipelineError, SettingsError

FULL_DISK = "the disk is full: nothing half-written was left; make room and run the same command again"
STOPPED = ("stopped; what is finished is kept: run the same command again", 130)  # what a shell gives after Ctrl-C
NO_MEMORY = "not enough memory: nothing half-written was left; free some, or give smaller sizes in params.yaml"
SOON = 0.05  # seconds
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # how torch says it


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
