"""A worker process that runs case after case under a watchdog and says how much memory they took."""

import multiprocessing
import os
import resource
from collections.abc import Callable

import pytest

SECONDS = 20
GROWTH = 1 << 20  # KiB above the start
EXAMPLES = int(os.environ.get("VISAGG_FUZZ", "30"))


def _serve(run: Callable[[bytes], None], pipe) -> None:
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while (data := pipe.recv()) is not None:
        try:
            run(data)
            fault = ""
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        pipe.send((fault, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start))


class Worker:
    """Runs cases in a process of its own.

    Args:
        run: what a case does; it raises where a property does not hold.
    """

    def __init__(self, run: Callable[[bytes], None]):
        context = multiprocessing.get_context("fork")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(run, other), daemon=True)
        self._process.start()
        other.close()
        self.cases = self.most_memory = 0

    def check(self, data: bytes) -> None:
        """Fails unless a case ends in time, in the memory allowed, and as it may."""
        self._pipe.send(data)
        if not self._pipe.poll(SECONDS):
            pytest.fail(f"a case of {len(data)} bytes takes more than {SECONDS} seconds")
        fault, grown = self._pipe.recv()
        self.cases, self.most_memory = self.cases + 1, max(self.most_memory, grown)
        assert not fault
        assert grown < GROWTH, f"{grown} KiB above the start"

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
