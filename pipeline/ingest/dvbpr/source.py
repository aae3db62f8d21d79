"""AmazonFashion6ImgPartitioned.npy and its siblings, the data sets of the DVBPR paper (Kang et al., ICDM 2017).

One array of six entries: the purchases of each user for training, validation and test, the items, and how many
users and items there are. Python 2 wrote items as byte strings and reviews as text; files written again by Python 3
may have either anywhere.
"""

import heapq
from collections.abc import Iterator
from functools import partial
from itertools import islice, repeat
from pathlib import Path

from pipeline.core.errors import SourceError, Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, open_regular
from pipeline.ingest.allowance import ENTRY, IMAGE_FACTOR, IMAGE_FLOOR, NAME, Allowance
from pipeline.ingest.dvbpr.content import read_objects
from pipeline.ingest.dvbpr.keys import in_order, key_of, text_of
from pipeline.ingest.dvbpr.standins import Span
from pipeline.ingest.dvbpr.tables import TABLES, Table
from pipeline.ingest.raw import RawItem, RawPurchase, Reject, Wrong, at_fault

SPLITS = ("train", "validation", "test")
ENTRIES = "[user_train, user_validation, user_test, Item, usernum, itemnum]"
LONGEST_TITLE = 1 << 16  # bytes; longer than that is no title
MOST_CATEGORIES = 1000  # of one item, names counted over all its paths
MOST_IDS = 1 << 16  # of items that were bought, in memory


class DVBPR:
    """A file in the DVBPR layout; its records lie on the disk meanwhile, some 300 bytes an item, 100 a purchase.

    Args:
        path: the file, or a folder with a single .npy file.
        scratch: the folder on whose disk they lie; None: the system's for temporary files.

    Raises:
        SourceError: it is missing, unreadable, or of another layout; of an iterator, that the file names the same
            things too often.
    """

    def __init__(self, path: Path, scratch: Path | None = None):
        self.path = _only_file(path) if path.is_dir() else path
        content = read_objects(self.path, scratch)
        entries = content.entries
        if len(entries) != 6 or not all(isinstance(table, Table | dict | list | tuple) for table in entries[:TABLES]):
            kinds = ", ".join(getattr(entry, "name", type(entry).__name__) for entry in islice(entries, 8))
            raise SourceError(f"{self.path}: an array of {len(entries)} entries ({kinds}); expected {ENTRIES}")
        *self._purchases, self._items = [content.part(table) for table in entries[:TABLES]]
        self._store, self._size = content.store, content.size
        self._ids: dict[int | str, str | None] = {}

    def items(self) -> Iterator[RawItem | Reject]:
        """Yields the items by ascending index."""
        allowance = Allowance(self.path, self._size)
        images = Allowance(self.path, self._size, floor=IMAGE_FLOOR, factor=IMAGE_FACTOR)
        for key, record in self._store.entries(self._items):
            item_id = _item_id(key, record)
            allowance.spend(ENTRY + len(item_id or ""))
            try:
                item = self._item(item_id, record, allowance)
                images.spend(_image_size(record))
                yield item
            except Unusable as fault:
                yield Reject("item", item_id or str(key), fault.reason, self.path.name, **at_fault(fault))

    def purchases(self) -> Iterator[RawPurchase | Reject]:
        """Yields each user's purchases, users by ascending key, splits in the order train, validation, test."""
        allowance = Allowance(self.path, self._size)
        tables = (
            zip(repeat(split), self._store.entries(part)) for split, part in zip(SPLITS, self._purchases, strict=True)
        )
        for source_split, (user, reviews) in heapq.merge(*tables, key=lambda entry: in_order(entry[1][0])):
            if isinstance(reviews, dict):
                reviews = (reviews,)
            if not isinstance(reviews, list | tuple):
                allowance.spend(ENTRY)
                reason = "the user's purchases are not a list"
                yield Reject("purchase", "", reason, self.path.name, field=source_split, value=str(user)[:100])
                continue
            for review in reviews:
                purchase = self._purchase(user, source_split, review)
                user_id = purchase.user_id if isinstance(purchase, RawPurchase) else ""
                allowance.spend(ENTRY + len(user_id) + len(purchase.item_id))
                yield purchase

    def _item(self, item_id: str | None, record: object, allowance: Allowance) -> RawItem:
        if not isinstance(record, dict):
            raise Unusable("not a record")
        if item_id is None:
            raise Wrong("asin is not a short text", "asin", _field(record, "asin"))
        return RawItem(
            item_id=item_id,
            categories=_paths(_field(record, "categories"), allowance),
            title=self._title(_field(record, "title"), allowance),
            image=self._image(_field(record, "imgs")),
            file=self.path.name,
            image_name="imgs",
        )

    def _title(self, value: object, allowance: Allowance) -> str:
        if isinstance(value, Span):
            allowance.spend(min(value.length, LONGEST_TITLE))
            value = _read(self.path, value) if value.length <= LONGEST_TITLE else None
        return (text_of(value) or "").strip()

    def _image(self, value: object) -> partial | None:
        return None if value is None else partial(_read_image, self.path, value)

    def _purchase(self, user: int | str, source_split: str, review: object) -> RawPurchase | Reject:
        if not isinstance(review, dict):
            return Reject("purchase", "", "not a record", self.path.name, field=source_split, value=str(user)[:100])
        item_id = ""
        try:
            item_id = _short_text(review, "asin")
            item_id = self._item_id(_field(review, "productid"), item_id)
            user_id = _short_text(review, "reviewerID") or str(user)
            time = _time(_field(review, "unixReviewTime"))
            return RawPurchase(user_id, item_id, time, source_split, self.path.name)
        except Unusable as fault:
            return Reject("purchase", item_id, fault.reason, self.path.name, **at_fault(fault))

    def _item_id(self, index: object, asin: str) -> str:
        """The item that a review names by its index, or, without an index, by its asin."""
        if index is None:
            if not asin:
                raise Wrong("no item", "productid", "")
            return asin
        key = key_of(index)
        if key is None:
            raise Wrong("productid is not an index", "productid", index)
        item_id = self._id_of(key)
        if item_id is None:
            raise Wrong("the item is not in the file", "productid", index)
        return item_id

    def _id_of(self, key: int | str) -> str | None:
        """The id of an item by its index; None where there is none."""
        if key not in self._ids:
            if len(self._ids) == MOST_IDS:
                self._ids.clear()
            self._ids[key] = _item_id(key, self._store.get(self._items, key))
        return self._ids[key]


def _only_file(folder: Path) -> Path:
    paths = sorted(folder.glob("*.npy"))
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise SourceError(f"{folder}: no .npy file in this folder; name the file")
    names = ", ".join(path.name for path in paths[:5])
    raise SourceError(f"{folder}: {len(paths)} .npy files in this folder ({names}); name the one to read")


def _field(record: dict, name: str) -> object:
    value = record.get(name.encode())
    return record.get(name) if value is None else value


def _short_text(record: dict, name: str) -> str:
    value = _field(record, name)
    text = "" if value is None else text_of(value)
    if text is None:
        raise Wrong(f"{name} is not a short text", name, value)
    return text


def _item_id(key: int | str, record: object) -> str | None:
    """The id of an item; None where it has none, or is no record."""
    if not isinstance(record, dict):
        return None
    try:
        return _short_text(record, "asin") or str(key)
    except Unusable:
        return None


def _paths(value: object, allowance: Allowance) -> list[list[str]]:
    """Reads the categories: a list of paths, or a single path; empty names and paths are left out."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise Wrong("categories are not a list", "categories", value)
    # Counted before they are walked: each may be the same list again, which costs the file two bytes.
    too_many = Wrong(f"more than {MOST_CATEGORIES} categories", "categories", "")
    if len(value) > MOST_CATEGORIES:
        raise too_many
    allowance.spend(NAME * len(value))
    if value and all(text_of(name) is not None for name in value):
        value = [value]
    if not all(isinstance(path, list | tuple) for path in value):
        raise Wrong("categories are not lists of text", "categories", value)
    if sum(len(path) for path in value) > MOST_CATEGORIES:
        raise too_many
    allowance.spend(sum(NAME + (len(name) if isinstance(name, str | bytes) else 0) for path in value for name in path))
    paths = ([name for category in path if (name := _category(category))] for path in value)
    return [path for path in paths if path]


def _category(value: object) -> str:
    """A category's name without spaces around it."""
    text = text_of(value)
    if text is None:
        raise Wrong("categories are not lists of text", "categories", value)
    return text.strip()


def _time(value: object) -> int:
    if value is None:
        raise Wrong("no time", "unixReviewTime", "")
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or value.bit_length() > 63:
        raise Wrong("the time is not a number of seconds", "unixReviewTime", value)
    return value


def _image_size(record: object) -> int:
    value = _field(record, "imgs") if isinstance(record, dict) else None
    return value.length if isinstance(value, Span) and value.length <= LARGEST_IMAGE else 0


def _read_image(path: Path, value: object) -> bytes:
    """Reads an item's image; opens the file each time, so that any thread or process may call it."""
    if type(value) is bytes:
        return value
    if not isinstance(value, Span) or value.is_text:
        raise Unusable("image is not a byte string")
    if value.length > LARGEST_IMAGE:
        raise Unusable(f"image of more than {LARGEST_IMAGE >> 20} MiB")
    return _read(path, value)


def _read(path: Path, span: Span) -> bytes:
    try:
        with open_regular(path) as file:
            return span.read(file)
    except OSError as fault:
        raise Unusable(f"the file cannot be read: {fault.strerror}") from None
