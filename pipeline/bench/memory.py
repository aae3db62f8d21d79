"""How much memory a process and those that it started take.

A look takes tens of milliseconds, in which the system also holds up the process: never look while time is taken.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


def _look(process, peak: Peak, done: threading.Event) -> None:
    import psutil

    while True:
        try:
            family = [process, *process.children(recursive=True)]
            peak.size = max(peak.size or 0, sum(_size(member) for member in family))
        except psutil.Error:  # one of them has just ended
            pass
        if done.wait(INTERVAL):
            return


def _size(process) -> int:
    """What a process has to itself, and its share of what it shares where the system says."""
    memory = process.memory_full_info()
    return getattr(memory, "pss", memory.uss)
