"""Which reviews stay when rare users and items go: counted on numbers, a part of the users at a time."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edges:
    """The reviews of a part of the users, as numbers.

    Attributes:
        users: of each review, counted from 0 within the part, ascending: int32 [reviews].
        items: of each review, the item's place among all: int32 [reviews].
    """

    users: np.ndarray
    items: np.ndarray


def most_bought(parts: list[Edges], items: int, most: int) -> np.ndarray:
    """The items with most reviews; of equally many, those that come first.

    Args:
        parts: the reviews.
        items: how many items there are.
        most: how many may stay.

    Returns:
        Whether each item stays: bool [items].

    >>> most_bought([Edges(np.array([0, 0, 1]), np.array([2, 1, 2]))], 3, 2).tolist()
    [False, True, True]
    """
    counts = _counts(parts, [np.ones(len(part.items), bool) for part in parts], items)
    stays = np.zeros(items, bool)
    stays[np.argsort(-counts, kind="stable")[:most]] = True
    return stays


def core(parts: list[Edges], kept: list[np.ndarray], items: int, *, least: int) -> list[np.ndarray]:
    """Leaves out users and items with fewer than `least` reviews, again and again until none is left to go.

    Args:
        parts: the reviews.
        kept: of each part, which reviews are there to begin with: bool [reviews].
        items: how many items there are.
        least: reviews that each user, and each item, has in the end.

    Returns:
        Of each part, which reviews stay: bool [reviews].

    >>> parts = [Edges(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2]))]
    >>> core(parts, [np.ones(5, bool)], 3, least=2)[0].tolist()
    [True, True, True, True, False]
    """
    kept = [mask.copy() for mask in kept]
    while True:
        before = sum(int(mask.sum()) for mask in kept)
        rare = _counts(parts, kept, items) < least
        for part, mask in zip(parts, kept, strict=True):
            mask &= ~rare[part.items]
            users = part.users[-1] + 1 if len(part.users) else 0
            mask &= (np.bincount(part.users[mask], minlength=users) >= least)[part.users]
        if sum(int(mask.sum()) for mask in kept) == before:
            return kept


def _counts(parts: list[Edges], kept: list[np.ndarray], items: int) -> np.ndarray:
    """Reviews of each item: int64 [items]."""
    counts = np.zeros(items, np.int64)
    for part, mask in zip(parts, kept, strict=True):
        np.add.at(counts, part.items[mask], 1)
    return counts
