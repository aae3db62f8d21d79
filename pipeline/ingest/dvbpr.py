"""AmazonFashion6ImgPartitioned.npy and its siblings, the data sets of the DVBPR paper (Kang et al., ICDM 2017).

One array of six entries: the purchases of each user for training, validation and test, the items, and how many
users and items there are. Python 2 wrote items as byte strings and reviews as text; files written again by Python 3
may have either anywhere.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from pipeline.core.errors import SourceError, Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, open_regular
from pipeline.ingest.allowance import ENTRY, IMAGE_FACTOR, IMAGE_FLOOR, NAME, Allowance
from pipeline.ingest.raw import RawItem, RawPurchase, Reject, Wrong, at_fault
from pipeline.ingest.standins import Span
from pipeline.ingest.unpickle import read_objects

SPLITS = ("train", "validation", "test")
ENTRIES = "[user_train, user_validation, user_test, Item, usernum, itemnum]"
LONGEST_TITLE = 1 << 16  # bytes; longer than that is no title
MOST_CATEGORIES = 1000  # of one item, names counted over all its paths


class DVBPR:
    """A file in the DVBPR layout; everything but the images is in memory.

    Args:
        path: the file, or a folder with a single .npy file.

    Raises:
        SourceError: it is missing, unreadable, or of another layout; of an iterator, that the file names the same
            things too often.
    """

    def __init__(self, path: Path):
        self.path = _only_file(path) if path.is_dir() else path
        entries, self._size = read_objects(self.path)
        if len(entries) != 6 or not all(isinstance(table, dict | list | tuple) for table in entries[:4]):
            kinds = ", ".join(type(entry).__name__ for entry in islice(entries, 8))
            raise SourceError(f"{self.path}: an array of {len(entries)} entries ({kinds}); expected {ENTRIES}")
        *self._purchases, items = (self._by_key(table) for table in entries[:4])
        self._items = {key: items[key] for key in _in_order(items)}
        self._ids = {key: _item_id(key, record) for key, record in self._items.items() if isinstance(record, dict)}

    def items(self) -> Iterator[RawItem | Reject]:
        """Yields the items by ascending index."""
        allowance = Allowance(self.path, self._size)
        images = Allowance(self.path, self._size, floor=IMAGE_FLOOR, factor=IMAGE_FACTOR)
        for key, record in self._items.items():
            allowance.spend(ENTRY + len(self._ids.get(key) or ""))
            try:
                item = self._item(key, record, allowance)
                images.spend(self._image_size(record))
                yield item
            except Unusable as fault:
                yield Reject("item", self._ids.get(key) or str(key), fault.reason, self.path.name, **at_fault(fault))

    def purchases(self) -> Iterator[RawPurchase | Reject]:
        """Yields each user's purchases, users by ascending key, splits in the order train, validation, test."""
        allowance = Allowance(self.path, self._size)
        for user in _in_order(set().union(*self._purchases)):
            for source_split, table in zip(SPLITS, self._purchases, strict=True):
                reviews = table.get(user, ())
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

    def _by_key(self, table: dict | list | tuple) -> dict[int | str, object]:
        if not isinstance(table, dict):
            return dict(enumerate(table))
        keyed: dict[int | str, object] = {}
        for name, value in table.items():
            key = _key(name)
            keyed[str(name) if key is None else key] = value
        if len(keyed) < len(table):
            raise SourceError(f"{self.path}: a table has the same index twice, as a number and as text")
        return keyed

    def _item(self, key: int | str, record: object, allowance: Allowance) -> RawItem:
        if not isinstance(record, dict):
            raise Unusable("not a record")
        item_id = self._ids[key]
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
        return (_text(value) or "").strip()

    def _image_size(self, record: object) -> int:
        value = _field(record, "imgs") if isinstance(record, dict) else None
        return value.length if isinstance(value, Span) and value.length <= LARGEST_IMAGE else 0

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
        key = _key(index)
        if key is None:
            raise Wrong("productid is not an index", "productid", index)
        item_id = self._ids.get(key)
        if item_id is None:
            raise Wrong("the item is not in the file", "productid", index)
        return item_id


def _only_file(folder: Path) -> Path:
    paths = sorted(folder.glob("*.npy"))
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise SourceError(f"{folder}: no .npy file in this folder; name the file")
    names = ", ".join(path.name for path in paths[:5])
    raise SourceError(f"{folder}: {len(paths)} .npy files in this folder ({names}); name the one to read")


def _key(value: object) -> int | str | None:
    """Spells a key in one way, whether a number, its digits or a name; None where it is none of these."""
    if type(value) is int:
        return value if value.bit_length() < 64 else None
    text = _text(value)
    if text and len(text) < 19 and text.isascii() and text.isdigit():
        return int(text)
    return text or None


def _in_order(keys: dict | set) -> list[int | str]:
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


def _field(record: dict, name: str) -> object:
    value = record.get(name.encode())
    return record.get(name) if value is None else value


def _text(value: object) -> str | None:
    """Gives bytes or text as text that can be written as UTF-8; None for anything else."""
    if type(value) is str:
        return value.encode("utf-8", "replace").decode("utf-8")  # a pickle can hold halves of characters
    return value.decode("utf-8", "replace") if type(value) is bytes else None


def _short_text(record: dict, name: str) -> str:
    value = _field(record, name)
    text = "" if value is None else _text(value)
    if text is None:
        raise Wrong(f"{name} is not a short text", name, value)
    return text


def _item_id(key: int | str, record: dict) -> str | None:
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
    if value and all(_text(name) is not None for name in value):
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
    text = _text(value)
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
