"""How much memory a process and those that it started take.

A look takes tens of milliseconds, in which the system also holds up the process: never look while time is taken.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

INTERVAL = 0.2  # seconds between two looks


@dataclass
class Peak:
    """The most that was seen, in bytes; None without psutil, which is in the extra `bench`."""

    size: int | None = None


@contextmanager
def watch(pid: int) -> Iterator[Peak]:
    """Looks at a process and its descendants while the block runs; what it yields is final after it."""
    peak = Peak()
    try:
        import psutil
    except ImportError:
        yield peak
        return
    done = threading.Event()
    watcher = threading.Thread(target=_look, args=(psutil.Process(pid), peak, done))
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def family_size(process: "psutil.Process") -> int:
    """Bytes that a process and its descendants take at this moment; what they share counts once, where the system says.

    Raises:
        psutil.Error: when one of them ends meanwhile.
    """
    memory = [member.memory_full_info() for member in (process, *process.children(recursive=True))]
    return sum(getattr(info, "pss", info.uss) for info in memory)


def _look(process: "psutil.Process", peak: Peak, done: threading.Event) -> None:
    import psutil

    while True:
        with suppress(psutil.Error):  # one of them has just ended
            peak.size = max(peak.size or 0, family_size(process))
        if done.wait(INTERVAL):
            return
