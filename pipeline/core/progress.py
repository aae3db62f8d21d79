"""Progress of long work: a bar on a terminal, lines elsewhere. What is under way is never silent for long."""

import sys
import threading
import time
from types import TracebackType
from typing import ClassVar, Self

from tqdm import tqdm

FIRST_SECONDS = 3.0  # until work that has said nothing yet says what it is
LINE_SECONDS = 60.0  # between two lines where there is no terminal
OFTEN_SECONDS = 5.0  # the same for whoever asked for more
BAR_SECONDS = 1.0  # between two looks at a bar, whose clock goes on though nothing is counted
MINUTE, HOUR = 60, 3600


class Speech:
    """How much this process says on standard error; there is one, as there is one screen.

    Attributes:
        quiet: whether nothing but faults is said.
        verbose: whether more is said, and more often.
    """

    quiet: ClassVar[bool] = False
    verbose: ClassVar[bool] = False
    _works: ClassVar[list["Work"]] = []  # under way, the outermost first
    _guard: ClassVar[threading.Condition] = threading.Condition(threading.RLock())
    _last: ClassVar[float] = 0.0
    _silent_for: ClassVar[float] = FIRST_SECONDS
    _thread: ClassVar[threading.Thread | None] = None

    @classmethod
    def choose(cls, *, quiet: bool = False, verbose: bool = False) -> None:
        """Sets how much is said."""
        cls.quiet, cls.verbose = quiet, verbose

    @classmethod
    def say(cls, line: str) -> None:
        """Says a line, unless the process is to be quiet."""
        with cls._guard:
            if not cls.quiet:
                print(line, file=sys.stderr, flush=True)
            cls._last, cls._silent_for = time.monotonic(), OFTEN_SECONDS if cls.verbose else LINE_SECONDS

    @classmethod
    def begin(cls, work: "Work") -> None:
        """From now on this is under way."""
        with cls._guard:
            if not cls._works:
                cls._last, cls._silent_for = time.monotonic(), FIRST_SECONDS
            cls._works.append(work)
            if cls._thread is None:
                cls._thread = threading.Thread(target=cls._watch, name="progress", daemon=True)
                cls._thread.start()

    @classmethod
    def end(cls, work: "Work") -> bool:
        """It is no longer under way; whether it was part of other work that counts."""
        with cls._guard:
            cls._works.remove(work)
            cls._guard.notify_all()
            return any(isinstance(other, Progress) for other in cls._works)

    @classmethod
    def _watch(cls) -> None:
        """Breaks a silence that has lasted too long."""
        with cls._guard:
            while cls._works:
                for work in cls._works:
                    work.refresh()
                if time.monotonic() - cls._last >= cls._silent_for:
                    cls._break_silence()
                cls._guard.wait(BAR_SECONDS)
            cls._thread = None

    @classmethod
    def _break_silence(cls) -> None:
        lines = [work.state() for work in cls._works if isinstance(work, Progress)] or [cls._works[0].state()]
        if any(work.is_on_screen() for work in cls._works):
            cls._last = time.monotonic()
        else:
            cls.say("; ".join(lines))


class Work:
    """Something that takes a while. A context: `with Work("train lite0 average: fits a head"): ...`.

    Args:
        name: what it is, in words.
    """

    def __init__(self, name: str):
        self._name = name

    def state(self) -> str:
        """How far it is, in a line."""
        return self._name

    def is_on_screen(self) -> bool:
        """Whether a bar shows it."""
        return False

    def refresh(self) -> None:
        """Has what is on the screen show the time."""

    def __enter__(self) -> Self:
        Speech.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It is done, or was given up."""
        Speech.end(self)


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

    def expect_fewer(self, count: int) -> None:
        """There will be `count` fewer than was said."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the counting."""


class Progress(Work, Counter):
    """Counts what is done, and shows on standard error how fast it goes and how long it still takes.

    Used as a context: `with Progress("train", 12, "runs") as progress: progress.add()`. Any thread may count.

    Args:
        name: of the work, first in each line.
        total: how many there are to do, at most; None where that is not known.
        unit: what is counted, in the plural.

    Attributes:
        note: shown behind the rate; may change.
    """

    def __init__(self, name: str, total: int | None, unit: str):
        Work.__init__(self, name)
        Counter.__init__(self)
        self._total, self._unit, self._lock, self.note = total, unit, threading.Lock(), ""
        self._start = time.monotonic()
        on_terminal = sys.stderr.isatty() and not Speech.quiet
        self._bar = tqdm(total=total, desc=name, unit=f" {unit}", leave=False) if on_terminal else None

    def add(self, count: int = 1) -> None:
        """Counts `count` more."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.update(count)

    def expect_fewer(self, count: int) -> None:
        """There will be `count` fewer than was said."""
        with self._lock:
            self._total = (self._total or 0) - count
            if self._bar is not None:
                self._bar.total = self._total

    def state(self) -> str:
        """How far it is: such as `train: 30 of 120 epochs, 45 s left, 2.0 a second`."""
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        of = f" of {self._total:,}" if self._total else ""
        left = f", {_duration((self._total - self.done) / rate)} left" if self._total and rate else ""
        pace, note = f", {_pace(rate)}" if rate else "", f"; {self.note}" if self.note else ""
        return f"{self._name}: {self.done:,}{of} {self._unit}{left}{pace}{note}"

    def is_on_screen(self) -> bool:
        """Whether a bar shows it."""
        return self._bar is not None

    def refresh(self) -> None:
        """Has the bar show the time."""
        if self._bar is not None:
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the bar away; without a terminal, says the final count, unless it is part of other counted work."""
        is_part = Speech.end(self)
        if self._bar is not None:
            self._bar.close()
        elif self.done and kind is None and not is_part:
            rate = self.done / max(time.monotonic() - self._start, 1e-9)
            Speech.say(f"{self._name}: {self.done:,} {self._unit}, {_pace(rate)}")


def _pace(rate: float) -> str:
    """A rate a second in words, in the unit of time in which it is a number of some size.

    >>> _pace(12.34), _pace(0.25), _pace(0.002)
    ('12.3 a second', '15.0 a minute', '7.2 an hour')
    """
    if rate >= 1:
        return f"{rate:,.1f} a second"
    return f"{rate * MINUTE:.1f} a minute" if rate * MINUTE >= 1 else f"{rate * HOUR:.1f} an hour"


def _duration(seconds: float) -> str:
    """Seconds in words.

    >>> _duration(45.2), _duration(600), _duration(9000)
    ('45 s', '10 min', '2.5 h')
    """
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


class Console:
    """What a long run says, on standard error."""

    def say(self, line: str) -> None:
        """Says a line."""
        Speech.say(line)

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
