"""People who do not exist, and what they buy: a taste, purchases from it, and days on which they are made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_FIRST_TIME = 1_356_998_400
_DAY = 86_400
_HEAD = 20.0  # a kind's first items are bought about equally often
_STREAM_ORDER, _STREAM_USER = 3, 2  # a generator's second number: no two uses share their numbers


def dated(bought: Sequence[int], rng: np.random.Generator) -> Iterator[tuple[int, int, str]]:
    """Items in the order in which they were bought, each with its time and the split that the published data give it.

    The last purchase is for test, the one before for validation.
    """
    times = _FIRST_TIME + np.cumsum(rng.integers(1, 60 * _DAY, size=len(bought)))
    for place, (index, time) in enumerate(zip(bought, times.tolist(), strict=True)):
        yield index, time, {len(bought) - 1: "test", len(bought) - 2: "validation"}.get(place, "train")


@dataclass(frozen=True)
class Habits:
    """How people buy.

    Attributes:
        taste: concentration of the Dirichlet distribution of a person's shares of the kinds. The sum over all kinds
            where `by_stock`, else of each: the smaller, the fewer interests a person has.
        by_stock: whether kinds of many items are liked by more people; else all are equal.
        fewest, most: purchases a person; drawn evenly unless `tail`.
        tail: whether most people buy few things and some a great many: the fewest, and what a log-normal draw adds.
        popularity: 0: all items of a kind sell alike; towards 1: few sell most.
    """

    taste: float
    fewest: int
    most: int
    by_stock: bool = False
    tail: bool = False
    popularity: float = 0.0


class Crowd:
    """Buyers of items of some kinds. A buyer's purchases do not depend on how many other buyers there are.

    Args:
        kind_of_item: the number of each item's kind, int [n]; every number below their count occurs.
        habits: how they buy.
        seed: the same seed gives the same purchases.

    >>> crowd = Crowd(np.array([0, 0, 1, 1]), Habits(taste=0.35, fewest=2, most=3), seed=0)
    >>> [item for item, _, _ in crowd.history(0)]
    [2, 3, 0]
    """

    def __init__(self, kind_of_item: np.ndarray, habits: Habits, *, seed: int):
        self._habits, self._seed = habits, seed
        # Shuffled within a kind, so that which items sell best says nothing about where they stand.
        shuffled = np.random.default_rng([seed, _STREAM_ORDER]).permutation(len(kind_of_item)).astype(np.int32)
        self._items = shuffled[np.argsort(kind_of_item[shuffled], kind="stable")]
        self._stock = np.bincount(kind_of_item)
        self._starts = np.cumsum(self._stock) - self._stock
        share = self._stock / self._stock.sum() if habits.by_stock else np.ones(len(self._stock))
        self._concentration = np.maximum(habits.taste * share, 0.01)

    def history(self, user: int) -> Iterator[tuple[int, int, str]]:
        """What one person bought, as `dated` gives it; nothing twice."""
        rng = np.random.default_rng([self._seed, _STREAM_USER, user])
        taste = rng.dirichlet(self._concentration)
        kinds = rng.choice(len(taste), self._count(rng), p=taste)
        places = self._starts[kinds] + self._ranks(rng.random(len(kinds)), self._stock[kinds])
        yield from dated(list(dict.fromkeys(self._items[places].tolist())), rng)

    def _count(self, rng: np.random.Generator) -> int:
        habits = self._habits
        if not habits.tail:
            return int(rng.integers(habits.fewest, habits.most + 1))
        return min(habits.fewest + int(rng.lognormal(0.806, 0.93)), habits.most)  # as in Amazon Fashion: 8 in the mean

    def _ranks(self, drawn: np.ndarray, stock: np.ndarray) -> np.ndarray:
        """Even draws from 0 to 1 as ranks in a kind: a power law of its exponent, flat at its head."""
        power = 1 - self._habits.popularity
        low, high = _HEAD**power, (stock + _HEAD) ** power
        ranks = (low + drawn * (high - low)) ** (1 / power) - _HEAD
        return np.clip(ranks.astype(np.int64), 0, stock - 1)
