"""A drawn shop of any size: the demo's garments under more categories, and buyers as Amazon Fashion has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.ingest.demo.buyers import Crowd, Habits
from pipeline.ingest.demo.garments import Garment, depict
from pipeline.ingest.demo.shop import describe, garment_of

QUALITY = (88, 96)  # of the JPEGs: 16 kB in the mean, as in Amazon Fashion
HABITS = Habits(taste=5.0, fewest=5, most=300, by_stock=True, tail=True, popularity=0.75)
NAMED_BY_COLOUR, UNNAMED = "boot", ("jeans", "watch")  # kinds whose pattern says nothing of them


@dataclass(frozen=True)
class Item:
    """What a shop says of an item."""

    item_id: str
    categories: list[list[str]]
    title: str


def picture(seed: int, index: int) -> bytes:
    """An item's JPEG."""
    return depict(*garment_of(seed, index), quality=QUALITY)


def item_of(seed: int, index: int) -> Item:
    """An item by its index.

    >>> item_of(7, 0).categories[0]
    ['Clothing, Shoes & Jewelry', 'Women', 'Shoes', 'Sneakers', 'Camouflage Sneaker']
    """
    garment, _ = garment_of(seed, index)
    categories, title = describe(garment, index)
    if word := _word(garment):
        categories[0].append(f"{word} {garment.kind}".title())
    return Item(f"S{index:09d}", categories, title)


def _word(garment: Garment) -> str:
    """What an item's last category says of its looks; empty where it has none such."""
    if garment.kind == NAMED_BY_COLOUR:
        return garment.colour
    return "" if garment.kind in UNNAMED or garment.pattern == "plain" else garment.pattern


@dataclass(frozen=True)
class Shop:
    """Items and users; an item or a user of one seed is the same in a larger shop, but not what a user buys there.

    Attributes:
        items: how many items.
        users: how many buyers.
        seed: of all of it.
    """

    items: int
    users: int
    seed: int

    @cached_property
    def crowd(self) -> Crowd:
        """The buyers: their tastes are of kinds, styles and patterns. Takes 10 bytes an item."""
        known: dict[tuple[str, str, str], int] = {}
        kinds = np.empty(self.items, np.int16)
        for index in range(self.items):
            garment, _ = garment_of(self.seed, index)
            kinds[index] = known.setdefault((garment.kind, garment.style, garment.pattern), len(known))
        return Crowd(kinds, HABITS, seed=self.seed)

    def histories(self) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
        """Each user's id and purchases: index of the item, time, split; in the order in which they were made."""
        for user in range(self.users):
            yield f"simulated {user:06d}", list(self.crowd.history(user))
