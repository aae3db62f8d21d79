"""Work for processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import TypeVar

from pipeline.core.errors import StageError

Result = TypeVar("Result")
LOST = "a process that did a part of the work was lost: killed, perhaps for want of memory"


def in_processes(
    do: Callable[..., Result],
    tasks: Iterable[tuple],
    *,
    jobs: int,
    window: int,
    begin: Callable[[], object] = bool,
) -> Generator[Result]:
    """What a function makes of some tasks, in their order.

    Args:
        do: the function; one of a module, since a process finds it by its name.
        tasks: its arguments, made here when there is room for another one.
        jobs: processes; 1: this one.
        window: how many tasks are under way, or wait, or have a result that waits: what bounds the memory.
        begin: what each process does first.

    Raises:
        StageError: when a process is lost.

    >>> list(in_processes(pow, [(2, 3), (3, 2)], jobs=1, window=1))
    [8, 9]
    """
    if jobs == 1:
        yield from (do(*task) for task in tasks)
        return
    # Spawned, not forked: libraries of this process have threads, whose locks a fork would copy in any state.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=partial(_serve, begin))
    try:
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            waiting.append(pool.submit(do, *task))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise StageError(LOST) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _serve(begin: Callable[[], object]) -> None:
    """Leaves Ctrl-C to the process that asked, and ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    begin()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
