"""A source as it is read: every image checked, every identifier made sure of, every refusal counted."""

from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline import images
from pipeline.catalogue import tables
from pipeline.catalogue.images import DigestRows
from pipeline.core import provenance
from pipeline.core.errors import SourceError, Unusable
from pipeline.core.progress import Counter, Progress
from pipeline.ingest.columns import Columns
from pipeline.ingest.raw import RawItem, RawPurchase, Reject, Source
from pipeline.ingest.tally import Tally

WINDOW = 64  # items whose images are checked side by side, and held encoded meanwhile
EXAMPLES = 3  # reasons quoted when nothing is left

# Two reasons for what is kept all the same, because half of it is of use.
UNLABELLED = "no category: it can be shown, but gives no label"
UNPICTURED = "no usable image: the item can give a label, but is not shown"


class ImageBank(Protocol):
    """What distinct images are added to."""

    def row(self, digest: bytes) -> int | None:
        """The row of an image that is already here, by its digest; else None."""
        ...

    def append(self, data: bytes, digest: bytes) -> int:
        """Adds an image that is not here yet and returns its row."""
        ...


class ImagesOf:
    """Which image each item has, in some 40 bytes an item: their ids go by their digests.

    >>> images = ImagesOf()
    >>> images.add("hat", 7)
    >>> images.add("tie", None)
    >>> "hat" in images, images["hat"], images["tie"], images.pictured, "cap" in images
    (True, 7, None, 1, False)
    """

    def __init__(self) -> None:
        self._items = DigestRows()
        self._images = array("q")  # the image's row; -1 where there is none

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: str) -> bool:
        return self._items.row(_digest(item_id)) is not None

    def __getitem__(self, item_id: str) -> int | None:
        """The image's row; None where the item has none. Raises KeyError for an unknown item."""
        item = self._items.row(_digest(item_id))
        if item is None:
            raise KeyError(item_id)
        image = self._images[item]
        return None if image < 0 else image

    def add(self, item_id: str, image: int | None) -> None:
        """Notes an item that is not here yet, and its image's row."""
        self._items.add(_digest(item_id))
        self._images.append(-1 if image is None else image)

    @property
    def pictured(self) -> int:
        """How many items have an image."""
        return int((np.frombuffer(self._images, np.int64) >= 0).sum())

    @property
    def distinct(self) -> int:
        """How many images they have."""
        images = np.frombuffer(self._images, np.int64)
        return len(np.unique(images[images >= 0]))


def _digest(item_id: str) -> bytes:
    return provenance.digest(item_id.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Items:
    """The items of a source.

    Attributes:
        table: as ITEMS.
        images: of each item.
        seen: how many rows the source has.
    """

    table: Columns
    images: ImagesOf
    seen: int


@dataclass(frozen=True)
class Purchases:
    """The purchases of a source.

    Attributes:
        table: as PURCHASES, by user and time, of equal times in the source's order.
        seen: how many rows the source has.
    """

    table: Columns
    seen: int


class Reading:
    """A source on its way to the catalogue.

    Args:
        source: the raw data.
        origin: its name in messages.
        parts: a folder where large tables wait.
        name: of the work, where its progress shows.
        threads: how many images are checked at a time.

    Attributes:
        rejects: what cannot be used, as far as the source has been read.
    """

    def __init__(self, source: Source, origin: str, parts: Path, *, name: str, threads: int):
        self._source, self._origin, self._parts = source, origin, parts
        self._name, self._threads = name, threads
        self.rejects = Tally()

    def items(self, bank: ImageBank) -> Items:
        """All items; each distinct image that can be decoded goes to the bank."""
        with ThreadPoolExecutor(self._threads) as pool, Progress(self._name, None, "items") as progress:
            checked = _checked(self._source.items(), bank, pool)
            return _items(checked, bank, self.rejects, parts=self._parts, progress=progress)

    def require_items(self, items: Items, most_rejects: float) -> None:
        """Raises SourceError when no item has an image, or too large a share of items or images is faulty."""
        without = self.rejects.counts["image", tables.NO_IMAGE]
        seen = {"item": items.seen, "image": len(items.images) - without}
        self.rejects.require_few(self._origin, seen, most=most_rejects)
        _require(items.images.pictured, f"{self._origin}: no item has a usable image", self.rejects)

    def purchases(self, items: Items) -> Purchases:
        """All purchases of these items."""
        with Progress(self._name, None, "purchases") as progress:
            return _purchases(self._source, items.images, self.rejects, parts=self._parts, progress=progress)

    def require_purchases(self, purchases: Purchases, most_rejects: float) -> None:
        """Raises SourceError when there are none, or too large a share is faulty."""
        self.rejects.require_few(self._origin, {"purchase": purchases.seen}, most=most_rejects)
        _require(len(purchases.table), f"{self._origin}: no purchase is left", self.rejects)


@dataclass(frozen=True)
class _CheckedItem:
    """An item whose image was looked at.

    Attributes:
        item: as the source has it.
        image: the encoded image; None where there is no usable one.
        digest: of the image; empty where there is none.
        fault: why there is none; empty where there is one.
    """

    item: RawItem
    image: bytes | None
    digest: bytes = b""
    fault: str = ""


def _checked(
    entries: Iterable[RawItem | Reject], bank: ImageBank, pool: ThreadPoolExecutor
) -> Iterator[_CheckedItem | Reject]:
    """The source's items with their images checked, a window of them side by side, in the source's order."""

    def check(entry: RawItem | Reject) -> _CheckedItem | Reject:
        return entry if isinstance(entry, Reject) else _check(entry, bank)

    entries = iter(entries)
    while window := list(islice(entries, WINDOW)):
        yield from pool.map(check, window)


def _check(item: RawItem, bank: ImageBank) -> _CheckedItem:
    """Reads an item's image, and decodes it unless the catalogue has the same one already."""
    try:
        if item.image is None:
            raise Unusable(tables.NO_IMAGE)
        image = item.image()
        digest = provenance.digest(image)
        if bank.row(digest) is None:
            images.decode(image)
        return _CheckedItem(item, image, digest)
    except Unusable as error:
        return _CheckedItem(item, None, fault=error.reason)


def _items(
    entries: Iterable[_CheckedItem | Reject], bank: ImageBank, rejects: Tally, *, parts: Path, progress: Counter
) -> Items:
    """All items whose identifier is theirs alone; those without a usable image have a null."""
    rows, seen = Columns(tables.ITEMS, ("item_id",), parts), 0
    images_of = ImagesOf()
    for entry in entries:
        progress.add()
        seen += entry.count if isinstance(entry, Reject) else 1
        if isinstance(entry, Reject):
            rejects.add(entry)
            continue
        item = entry.item
        if not item.item_id or item.item_id in images_of:
            reason = "item id occurs twice" if item.item_id else "no item id"
            rejects.add(Reject("item", item.item_id, reason, item.file, item.line))
            continue
        if entry.image is None:
            rejects.add(_unpictured(entry))
        if not any(item.categories):
            rejects.add(Reject("item", item.item_id, UNLABELLED, item.file, item.line, is_fault=False))
        row = _row(entry, bank)
        images_of.add(item.item_id, row)
        rows.add((item.item_id, row, item.categories, item.title))
    return Items(rows, images_of, seen)


def _unpictured(entry: _CheckedItem) -> Reject:
    """Why an item has no image; it is no fault where the source never had one."""
    item, is_fault = entry.item, entry.fault != tables.NO_IMAGE
    field = "image" if item.image_name else ""
    return Reject("image", item.item_id, entry.fault, item.file, item.line, field, item.image_name, is_fault=is_fault)


def _row(entry: _CheckedItem, bank: ImageBank) -> int | None:
    """The row of an item's image, which is written unless it is there; None where the item has none."""
    if entry.image is None:
        return None
    row = bank.row(entry.digest)
    return bank.append(entry.image, entry.digest) if row is None else row


def _purchases(source: Source, images_of: ImagesOf, rejects: Tally, *, parts: Path, progress: Counter) -> Purchases:
    """Purchases of known items, by user and time, of equal times in the source's order; and how many there were."""
    rows, seen = Columns(tables.PURCHASES, ("user_id", "time"), parts), 0
    for entry in source.purchases():
        progress.add()
        seen += entry.count if isinstance(entry, Reject) else 1
        if isinstance(entry, Reject):
            rejects.add(entry)
            continue
        if fault := _fault(entry, images_of):
            is_fault = fault != UNPICTURED
            rejects.add(Reject("purchase", entry.item_id, fault, entry.file, entry.line, is_fault=is_fault))
        if fault in (None, UNPICTURED):
            rows.add((entry.user_id, entry.item_id, entry.time, entry.source_split))
    return Purchases(rows, seen)


def _fault(purchase: RawPurchase, images_of: ImagesOf) -> str | None:
    """Why a purchase cannot be used, or not fully; None for a good one."""
    if not purchase.user_id:
        return "no user id"
    try:
        return UNPICTURED if images_of[purchase.item_id] is None else None
    except KeyError:
        return "unknown item"


def _require(count: int, message: str, rejects: Tally) -> None:
    """Raises SourceError, with some of the reasons, unless there are rows."""
    if not count:
        reasons = [f"{stage}: {reason}" for stage, reason in islice(rejects.counts, EXAMPLES)]
        total = sum(rejects.counts.values())
        raise SourceError(f"{message} ({total} rejects: {'; '.join(reasons) or 'the source is empty'})")
