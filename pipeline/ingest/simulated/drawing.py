"""Pictures drawn by several processes, given in order; however many there are, the pictures are the same."""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait

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
    """
    blocks = (range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK))
    if jobs == 1:
        for block in blocks:
            yield from _draw(seed, block)
        return
    # Spawned, not forked: libraries of this process have threads, whose locks a fork would copy in any state.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_serve)
    try:
        waiting: deque[Future[list[bytes]]] = deque()
        for block in blocks:
            waiting.append(pool.submit(_draw, seed, block))
            if len(waiting) >= AHEAD * jobs:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _draw(seed: int, block: range) -> list[bytes]:
    return [picture(seed, index) for index in block]


def _serve() -> None:
    """Leaves Ctrl-C to the process that asked, and ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for name in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(name, KEPT)  # layers are made anew for each picture: to get them from the system costs a fifth more
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
