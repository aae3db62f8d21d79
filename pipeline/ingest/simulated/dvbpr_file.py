"""Writes a drawn shop in the layout of AmazonFashion6ImgPartitioned.npy, as Python 2 and numpy wrote it."""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from pipeline.ingest.dvbpr.source import SPLITS
from pipeline.ingest.simulated.python2 import Pickler
from pipeline.ingest.simulated.shop import Item, Shop, item_of

NAME = "AmazonFashion6ImgPartitioned.npy"
WRITE_BUFFER = 4 << 20  # bytes


def write_dvbpr(folder: Path, shop: Shop, pictures: Iterable[bytes]) -> int:
    """Writes the file, and returns how many purchases it holds.

    Args:
        folder: that is being filled.
        shop: what is written.
        pictures: an image an item, in order.
    """
    with (folder / NAME).open("wb", buffering=WRITE_BUFFER) as file:
        whole = np.empty(6, dtype=object)
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(whole))
        writer = _Writer()
        for part in writer.parts(shop, pictures):
            file.write(part)
        return writer.purchases


class _Writer:
    """The pickle of [user_train, user_validation, user_test, Item, usernum, itemnum], piece by piece."""

    def __init__(self) -> None:
        self._pickler = Pickler()
        self.purchases = 0

    def parts(self, shop: Shop, pictures: Iterable[bytes]) -> Iterator[bytes]:
        pickler = self._pickler
        yield pickle.PROTO + b"\x02"
        # numpy's array: what rebuilds it, then its state: version, shape, type, order, elements.
        yield pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n" + pickle.GLOBAL + b"numpy\nndarray\n"
        yield pickler.number(0) + pickle.TUPLE1 + pickler.text(b"b") + pickle.TUPLE3 + pickle.REDUCE
        yield pickle.MARK + pickler.number(1) + pickler.number(6) + pickle.TUPLE1 + self._type() + pickle.NEWFALSE
        yield pickle.EMPTY_LIST + pickle.MARK
        for split in SPLITS:
            yield from pickler.table(self._users(shop, split))
        yield from pickler.table(self._items(shop, pictures))
        yield pickler.number(shop.users) + pickler.number(shop.items)
        yield pickle.APPENDS + pickle.TUPLE + pickle.BUILD + pickle.STOP

    def _type(self) -> bytes:
        """numpy's type of objects: its name, then its state: version, order, no fields, no sizes, flags."""
        pickler = self._pickler
        made = pickler.text(b"O8") + pickler.number(0) + pickler.number(1) + pickle.TUPLE3 + pickle.REDUCE
        unsized = pickler.number(-1) * 2 + pickler.number(63)
        state = pickle.MARK + pickler.number(3) + pickler.text(b"|") + pickle.NONE * 3 + unsized + pickle.TUPLE
        return pickle.GLOBAL + b"numpy\ndtype\n" + made + state + pickle.BUILD

    def _users(self, shop: Shop, split: str) -> Iterator[bytes]:
        for number, (user_id, history) in enumerate(shop.histories()):
            bought = [(index, time) for index, time, part in history if part == split]
            self.purchases += len(bought)
            reviews = [self._review(user_id, index, time) for index, time in bought]
            yield self._pickler.number(number) + self._pickler.list(reviews)

    def _review(self, user_id: str, index: int, time: int) -> bytes:
        pickler = self._pickler
        return pickler.record(
            [
                ("reviewerID", pickler.text(user_id)),
                ("asin", pickler.text(f"S{index:09d}")),
                ("productid", pickler.number(index)),
                ("unixReviewTime", pickler.number(time)),
            ]
        )

    def _items(self, shop: Shop, pictures: Iterable[bytes]) -> Iterator[bytes]:
        for index, image in enumerate(pictures):
            yield self._pickler.number(index) + self._item(item_of(shop.seed, index), image)

    def _item(self, item: Item, image: bytes) -> bytes:
        pickler = self._pickler
        paths = [pickler.list(pickler.text(name.encode()) for name in path) for path in item.categories]
        return pickler.record(
            [
                (b"asin", pickler.text(item.item_id.encode())),
                (b"imgs", pickler.text(image)),
                (b"categories", pickler.list(paths)),
                (b"title", pickler.text(item.title.encode())),
            ]
        )
