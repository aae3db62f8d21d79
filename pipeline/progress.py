"""Progress of long loops: a bar on a terminal, a line a minute elsewhere."""

import sys
import time
from contextlib import nullcontext

from tqdm import tqdm

LINE_SECONDS = 60.0


class Progress:
    """Counts things done, and shows how many a second and how long it still takes.

    Used as a context: `with Progress("embed lite0", total, "images") as progress: progress.add(64)`.
    """

    def __init__(self, name: str, total: int | None, unit: str):
        self._name, self._total, self._unit = name, total, unit
        self._done, self._start = 0, time.monotonic()
        self._spoke = self._start
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=name, unit=f" {unit}", leave=False) if on_terminal else None

    def add(self, count: int = 1) -> None:
        """Counts `count` more."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._spoke >= LINE_SECONDS:
            self._spoke = time.monotonic()
            self._line()

    def _line(self) -> None:
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        ahead = f" of {self._total}, {(self._total - self._done) / rate:.0f} s left" if self._total and rate else ""
        print(f"{self._name}: {self._done} {self._unit}{ahead}, {rate:.1f} a second", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._done and kind is None:
            self._line()


class Console:
    """What a long run says, on standard error."""

    def say(self, line: str) -> None:
        """Says a line."""
        print(line, file=sys.stderr, flush=True)

    def progress(self, name: str, total: int | None, unit: str) -> Progress | nullcontext:
        """Counts things done; arguments as of `Progress`. As a context: the counter, or None where none shows."""
        return Progress(name, total, unit)


class Notes(Console):
    """What a worker elsewhere says: kept for whoever sent it.

    Attributes:
        lines: what was said.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, name: str, total: int | None, unit: str) -> nullcontext:
        return nullcontext()
