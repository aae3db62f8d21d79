"""Where the time of a run goes."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

WORK = ("read", "decode", "infer", "write")
R = TypeVar("R")


class Stopwatch:
    """Adds up seconds by kind of work, over all threads.

    Attributes:
        seconds: by kind; of work that several threads do at a time, the sum over them.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Counts the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            with self._lock:
                self.seconds[kind] += taken

    def timed(self, kind: str, function: Callable[..., R]) -> Callable[..., R]:
        """The same function; its time counts."""

        @wraps(function)
        def wrapper(*args: Any) -> R:
            with self(kind):
                return function(*args)

        return wrapper

    def pace(self) -> str:
        """What the run waited for longer: "decode" or "infer"."""
        return max(("decode", "infer"), key=lambda kind: self.seconds[f"waiting for {kind}"])

    def summary(self, images: int) -> str:
        """One line for people."""
        elapsed = time.perf_counter() - self._start
        parts = ", ".join(f"{kind} {self.seconds[kind]:.1f}" for kind in WORK)
        return (
            f"{images} images in {elapsed:.1f} s, {images / max(elapsed, 1e-9):.1f} a second; "
            f"seconds over all threads: {parts}; {self.pace()} sets the pace"
        )
