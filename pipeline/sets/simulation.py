"""Simulated users of this catalogue's images, for whom a set's labels are not just what its photos show.

Each user has a taste, a few kinds of photo (photos of one kind show the same labels), and shows photos of these kinds.
Images are divided as `sets.new_items` divides items: validation and test users show what no training user shows.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.catalogue.labelled_sets import SETS
from pipeline.core.errors import StageError

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
NEW = 0.4  # share of the images that validation and test users show
TASTE = 0.3  # concentration of the Dirichlet distribution of a taste: few kinds make up most of it
AFTERWARDS = 2  # photos behind those shown, which give the labels under `next`


@dataclass(frozen=True)
class Case:
    """How sets come by their labels.

    Attributes:
        rule: "any": what any photo shows; "majority": what at least half of the photos show or, where nothing is shown
            so often, what most of them show; "pairs": a label counts only where its partner is shown too, by another
            photo or the same; "next": what the user's next photos show, which are not in the set.
        gifts: share of the photos that were bought for others: they are shown, and give no label.
        photos: most in a set; the fewest are a third of that.
    """

    rule: str
    gifts: float
    photos: int


@dataclass(frozen=True)
class _Kinds:
    """Images by kind: those of each kind, int [m], maybe none, and the labels that it shows."""

    images: list[np.ndarray]
    labels: list[frozenset[int]]


def simulate(shown: pl.DataFrame, classes: int, case: Case, *, users: int, seed: int) -> pl.DataFrame:
    """Sets of simulated users.

    Args:
        shown: image, labels: what each image shows by itself.
        classes: c, how many labels there are.
        case: how sets come by their labels.
        users: how many.
        seed: the same seed gives the same users.

    Returns:
        The columns of sets.parquet; a set may have no label.

    Raises:
        StageError: when the images are too few to be divided.

    >>> shown = pl.DataFrame({"image": range(40), "labels": [[image % 2] for image in range(40)]})
    >>> sets = simulate(shown, 2, Case("any", gifts=0.0, photos=3), users=5, seed=0)
    >>> sets["images"].list.len().to_list()
    [1, 2, 1, 2, 2]
    """
    generator = np.random.default_rng([seed, 0])
    new = generator.random(len(shown)) < NEW
    parts = {"train": _kinds(shown.filter(~new)), "other": _kinds(shown.filter(new))}
    if not all(part.labels for part in parts.values()):
        raise StageError("too few images have a label: conditions need some for training, and others for testing")
    order = generator.permutation(classes)
    partner = np.empty(classes, int)
    partner[order] = np.roll(order, 1)  # in a ring, so that none is its own
    rows = []
    for user in range(users):
        own = np.random.default_rng([seed, 1, user])
        split = str(own.choice(list(SHARES), p=list(SHARES.values())))
        images, labels = _set_of(parts.get(split, parts["other"]), case, partner, generator=own)
        rows.append((f"simulated {user:06d}", images, labels, split))
    return pl.DataFrame(rows, schema=SETS, orient="row")


def _kinds(shown: pl.DataFrame) -> _Kinds:
    """The kinds of some images, in the order of their labels."""
    by_labels: dict[tuple[int, ...], list[int]] = {}
    for image, labels in shown.select("image", "labels").sort("image").iter_rows():
        by_labels.setdefault(tuple(labels), []).append(image)
    kinds = sorted(by_labels)
    return _Kinds([np.array(by_labels[kind]) for kind in kinds], [frozenset(kind) for kind in kinds])


def _set_of(
    kinds: _Kinds, case: Case, partner: np.ndarray, *, generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    """One user's images, and labels."""
    taste = generator.dirichlet(np.full(len(kinds.labels), TASTE))
    count = int(generator.integers(-(-case.photos // 3), case.photos + 1))
    own = [*generator.choice(len(taste), count, p=taste)]
    after = [kinds.labels[kind] for kind in generator.choice(len(taste), AFTERWARDS, p=taste)]
    gifts = generator.random(count) < case.gifts
    drawn = np.where(gifts, generator.integers(0, len(taste), count), own)
    shown: dict[int, frozenset[int] | None] = {}  # what each image says, gifts nothing; an image counts once
    for kind, gift in zip(drawn, gifts, strict=True):
        shown.setdefault(int(generator.choice(kinds.images[kind])), None if gift else kinds.labels[kind])
    kept = [labels for labels in shown.values() if labels is not None]
    return list(shown), sorted(_labels(kept, after, rule=case.rule, partner=partner))


def _labels(photos: list[frozenset[int]], after: list[frozenset[int]], *, rule: str, partner: np.ndarray) -> set[int]:
    """A set's labels, of what its own photos and the next ones show.

    >>> photos, after = [frozenset({0}), frozenset({0, 1}), frozenset({2})], [frozenset({3})]
    >>> rules = ("any", "majority", "pairs", "next")
    >>> [sorted(_labels(photos, after, rule=rule, partner=np.array([2, 0, 1]))) for rule in rules]
    [[0, 1, 2], [0], [0, 1, 2], [3]]
    """
    counts = Counter(label for labels in photos for label in labels)
    if rule == "next":
        return set().union(*after)
    if rule == "majority":
        enough = min(len(photos) / 2, max(counts.values(), default=0))
        return {label for label, count in counts.items() if count >= enough}
    if rule == "pairs":
        return {label for label in counts if partner[label] in counts}
    return set(counts)
