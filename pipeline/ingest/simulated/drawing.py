"""Pictures drawn by several processes, given in order; however many there are, the pictures are the same."""

import ctypes
from collections.abc import Generator

from pipeline.core.processes import in_processes
from pipeline.ingest.simulated.shop import picture

BLOCK = 32  # pictures a task
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEPT = 1 << 26  # bytes
AHEAD = 3  # tasks a process that are under way or wait to be taken: 1.5 MB


def draw(seed: int, count: int, jobs: int) -> Generator[bytes]:
    """The pictures of the first items of a shop, in order.

    Args:
        seed: of the shop.
        count: how many.
        jobs: processes; 1: this one.

    Raises:
        StageError: when a process is lost.
    """
    tasks = ((seed, range(first, min(first + BLOCK, count))) for first in range(0, count, BLOCK))
    for pictures in in_processes(_draw, tasks, jobs=jobs, window=AHEAD * jobs, begin=_keep_memory):
        yield from pictures


def _draw(seed: int, block: range) -> list[bytes]:
    return [picture(seed, index) for index in block]


def _keep_memory() -> None:
    """Layers are made anew for each picture: to get their memory from the system each time costs a fifth more."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for name in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(name, KEPT)
