"""Progress of long loops: a bar on a terminal, a line a minute elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

LINE_SECONDS = 60.0  # between two lines where there is no terminal


class Counter:
    """Counts what is done, and shows nothing. A context, so that what shows something can stop showing it.

    >>> with Counter() as counter:
    ...     counter.add()
    ...     counter.add(64)
    >>> counter.done
    65

    Attributes:
        done: the count so far.
    """

    def __init__(self) -> None:
        self.done = 0

    def add(self, count: int = 1) -> None:
        """Counts `count` more."""
        self.done += count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the counting."""


class Progress(Counter):
    """Counts what is done, and shows on standard error how many a second and how long it still takes.

    Used as a context: `with Progress("train", 12, "runs") as progress: progress.add()`.

    Args:
        name: of the work, first in each line.
        total: how many there are to do; None where that is not known.
        unit: what is counted, in the plural.

    Attributes:
        note: shown behind the rate; may change.
    """

    def __init__(self, name: str, total: int | None, unit: str):
        super().__init__()
        self._name, self._total, self._unit, self.note = name, total, unit, ""
        self._start = self._last_line = time.monotonic()
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=name, unit=f" {unit}", leave=False) if on_terminal else None

    def add(self, count: int = 1) -> None:
        """Counts `count` more."""
        super().add(count)
        if self._bar is not None:
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            self._line()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the bar away; without a terminal, says the final count unless an error ended the work."""
        if self._bar is not None:
            self._bar.close()
        elif self.done and kind is None:
            self._line()

    def _line(self) -> None:
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        ahead = f" of {self._total}, {(self._total - self.done) / rate:.0f} s left" if self._total and rate else ""
        note = f"; {self.note}" if self.note else ""
        print(f"{self._name}: {self.done} {self._unit}{ahead}, {rate:.1f} a second{note}", file=sys.stderr, flush=True)


class Console:
    """What a long run says, on standard error."""

    def say(self, line: str) -> None:
        """Says a line."""
        print(line, file=sys.stderr, flush=True)

    def progress(self, name: str, total: int | None, unit: str) -> Counter:
        """A counter of what is done; arguments as of `Progress`."""
        return Progress(name, total, unit)


class Notes(Console):
    """What a worker elsewhere says: kept for whoever sent it; no progress shows.

    >>> notes = Notes()
    >>> notes.say("half of it is done")
    >>> notes.lines
    ['half of it is done']

    Attributes:
        lines: what was said.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keeps a line."""
        self.lines.append(line)

    def progress(self, name: str, total: int | None, unit: str) -> Counter:
        """A counter that shows nothing."""
        return Counter()
