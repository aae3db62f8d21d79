"""A catalogue and its buyers without a download: every picture is drawn, every purchase simulated, from one seed."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from pipeline.ingest.demo.buyers import dated
from pipeline.ingest.demo.garments import Garment, depict, imagine
from pipeline.ingest.raw import RawItem, RawPurchase

ROOT = "Clothing, Shoes & Jewelry"
# How often each kind is made. A few kinds make up half of the catalogue, as in a shop.
_SHARES: dict[str, float] = {
    "t-shirt": 0.135,
    "dress": 0.12,
    "sneaker": 0.095,
    "jeans": 0.08,
    "shirt": 0.075,
    "sweater": 0.07,
    "handbag": 0.062,
    "jacket": 0.058,
    "boot": 0.052,
    "sandal": 0.048,
    "trousers": 0.042,
    "skirt": 0.036,
    "watch": 0.033,
    "hat": 0.032,
    "shorts": 0.031,
    "sunglasses": 0.031,
}
# Below the root and Men or Women: the paths an item of each kind stands under, by style where that decides.
_PATHS: dict[str, dict[str, list[str]]] = {
    "t-shirt": {"short": ["Clothing/Tops & Tees/T-Shirts"], "tank": ["Clothing/Tops & Tees/Tanks"]},
    "shirt": {"": ["Clothing/Tops & Tees/Button-Down Shirts"]},
    "sweater": {
        "pullover": ["Clothing/Sweaters"],
        "hoodie": ["Clothing/Sweaters/Hoodies", "Clothing/Active"],
    },
    "jacket": {"": ["Clothing/Jackets & Coats"]},
    "dress": {"short": ["Clothing/Dresses/Casual"], "long": ["Clothing/Dresses/Formal"]},
    "skirt": {"": ["Clothing/Skirts"]},
    "trousers": {"": ["Clothing/Pants/Casual"]},
    "jeans": {"": ["Clothing/Pants/Jeans"]},
    "shorts": {"casual": ["Clothing/Shorts"], "sport": ["Clothing/Shorts", "Clothing/Active"]},
    "sneaker": {"": ["Shoes/Sneakers", "Shoes/Athletic"]},
    "boot": {"": ["Shoes/Boots"]},
    "sandal": {"flat": ["Shoes/Sandals"], "heel": ["Shoes/Sandals/Heeled", "Shoes/Formal"]},
    "hat": {"": ["Accessories/Hats & Caps"]},
    "handbag": {"tote": ["Handbags/Totes"], "shoulder": ["Handbags", "Accessories"]},
    "sunglasses": {"": ["Accessories/Sunglasses"]},
    "watch": {"": ["Watches", "Accessories"]},
}
_WOMEN_ONLY = ("dress", "skirt")
# A generator's first number after the seed says what it is for, so that no two uses share their numbers.
_STREAM_ITEM, _STREAM_USER = 1, 2
_GOLDEN = (5**0.5 - 1) / 2


def _kind(seed: int, index: int) -> str:
    """An item's kind. Multiples of the golden ratio fill the shares evenly, however many items there are."""
    place = ((index + 1) * _GOLDEN + seed * _GOLDEN**2) % 1.0
    names = list(_SHARES)
    return names[min(int(np.searchsorted(np.cumsum(list(_SHARES.values())), place, side="right")), len(names) - 1)]


def garment_of(seed: int, index: int) -> tuple[Garment, np.random.Generator]:
    """An item's garment in words, and the generator that draws the rest of it."""
    rng = np.random.default_rng([seed, _STREAM_ITEM, index])
    return imagine(_kind(seed, index), rng), rng


def describe(garment: Garment, index: int) -> tuple[list[list[str]], str]:
    """An item's categories and its title."""
    gender = "Women" if garment.kind in _WOMEN_ONLY or index % 5 < 3 else "Men"
    by_style = _PATHS[garment.kind]
    paths = by_style.get(garment.style) or by_style[""]
    style = "" if garment.style == garment.kind or len(by_style) == 1 else f"{garment.style} "
    title = f"{gender}'s {garment.pattern} {garment.colour} {style}{garment.kind}"
    return [[ROOT, gender, *path.split("/")] for path in paths], title


def _picture(seed: int, index: int) -> bytes:
    """An item's JPEG, drawn anew at every call."""
    return depict(*garment_of(seed, index))


class Demo:
    """A simulated fashion shop. An item, or a user's taste, is the same however large the shop is.

    Args:
        items: how many items it sells.
        users: how many people buy there.
        seed: the same seed gives the same shop, to the byte.
    """

    def __init__(self, items: int = 1200, users: int = 2000, seed: int = 7):
        self._items = items
        self._users = users
        self._seed = seed

    def items(self) -> Iterator[RawItem]:
        """Every item; nothing is drawn until its image is asked for."""
        for index in range(self._items):
            yield self._item(index)

    def _item(self, index: int) -> RawItem:
        categories, title = describe(garment_of(self._seed, index)[0], index)
        return RawItem(_item_id(index), categories, title, partial(_picture, self._seed, index))

    def purchases(self) -> Iterator[RawPurchase]:
        """Every purchase: user after user, each user's in the order of their times."""
        kinds = np.array([_kind(self._seed, index) for index in range(self._items)])
        _, kind_of_item, stock = np.unique(kinds, return_inverse=True, return_counts=True)
        for user in range(self._users):
            rng = np.random.default_rng([self._seed, _STREAM_USER, user])
            yield from _history(user, kind_of_item, stock, rng=rng)


def _item_id(index: int) -> str:
    return f"D{index:06d}"


def _history(
    user: int, kind_of_item: np.ndarray, stock: np.ndarray, *, rng: np.random.Generator
) -> Iterator[RawPurchase]:
    """What one user bought: mostly the few kinds they like, now and then anything; no item twice."""
    taste = rng.dirichlet(np.full(len(stock), 0.3))
    wanted = 0.95 * (taste / stock)[kind_of_item] + 0.05 / len(kind_of_item)
    # One user in a hundred is a reseller or a stylist, whose purchases say little about a person's taste.
    wish = rng.integers(40, 81) if rng.random() < 0.01 else rng.integers(3, 15)
    count = min(int(wish), len(kind_of_item))
    bought = rng.choice(len(kind_of_item), size=count, replace=False, p=wanted / wanted.sum())
    for index, time, split in dated(bought.tolist(), rng):
        yield RawPurchase(f"U{user:06d}", _item_id(index), time, split)
