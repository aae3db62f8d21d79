"""How often a host is asked: a rate that holds, and longer pauses where it shows that it has too much to do."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

FIRST_WAIT = 1.0  # seconds before the second try; doubled for each one behind it
SLOWEST = 32.0  # times the usual distance between two requests
EASED = 0.95  # of that factor is left by each answer


@dataclass
class _Host:
    """When a host may be asked next.

    Attributes:
        next_turn: seconds of the clock.
        factor: of the usual distance between two requests.
        slowed_until: until then one more sign of too much to do changes nothing: it is of the same moment.
    """

    next_turn: float = 0.0
    factor: float = 1.0
    slowed_until: float = 0.0


class Pace:
    """Gives turns.

    Args:
        rate: turns a second, of each host.
        longest_wait: seconds that a host is left alone at most.
        clock: the time in seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        rate: float,
        longest_wait: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        self._distance, self._longest, self._clock, self._sleep = 1 / rate, longest_wait, clock, sleep
        self._hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self._draw = Random(0)  # noqa: S311 (it scatters requests)

    async def turn(self, host: str) -> None:
        """Returns when the host may be asked."""
        state = self._hosts[host]
        while (wait := state.next_turn - self._clock()) > 0:
            await self._sleep(wait)
        state.next_turn = self._clock() + self._distance * state.factor

    def wait(self, tried: int, wished: float | None) -> float:
        """Seconds until an address is tried again: what the host wishes, else longer with each try, scattered.

        >>> pace = Pace(1.0, 300.0)
        >>> pace.wait(1, 7.5), pace.wait(1, 1e9), 2 <= pace.wait(3, None) <= 4
        (7.5, 300.0, True)
        """
        if wished is not None:
            return min(max(wished, 0.0), self._longest)
        return min(FIRST_WAIT * 2.0 ** min(tried - 1, 30), self._longest) * self._draw.uniform(0.5, 1)

    def slow(self, host: str, seconds: float) -> None:
        """Leaves a host alone for so long, and asks it less often from then on."""
        state, now = self._hosts[host], self._clock()
        if now >= state.slowed_until:
            state.factor = min(2 * state.factor, SLOWEST)
        state.next_turn = max(state.next_turn, now + seconds)
        state.slowed_until = max(state.slowed_until, state.next_turn)

    def ease(self, host: str) -> None:
        """Goes a step back towards the usual rate: the host has answered."""
        state = self._hosts[host]
        state.factor = max(1.0, EASED * state.factor)

    def now(self) -> float:
        """The time in seconds."""
        return self._clock()

    async def pause(self, seconds: float) -> None:
        """Waits."""
        await self._sleep(seconds)


def retry_after(text: str | None, now: datetime) -> float | None:
    """The seconds that a header Retry-After asks for; None where it is not there or says nothing.

    >>> retry_after("120", datetime(2024, 1, 1, tzinfo=UTC))
    120.0
    >>> retry_after("Mon, 01 Jan 2024 00:00:30 GMT", datetime(2024, 1, 1, tzinfo=UTC))
    30.0
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:10])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
