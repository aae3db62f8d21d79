"""A folder of two tables and image files: the format for anyone's own data.

items.csv or items.parquet: item_id, image (a path inside the folder, or an address that visagg fetch asks for, may be
empty), categories ("a > b | a > c"), and
title if there is one. purchases.csv or purchases.parquet: user_id, item_id, time (see moments.py), and split if there
is one.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl

from pipeline.catalogue.tables import NO_IMAGE
from pipeline.catalogue.tables import SPLITS as SPLIT_TYPE
from pipeline.core.errors import SourceError, Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, Irregular, open_regular, read_whole
from pipeline.ingest.allowance import Allowance
from pipeline.ingest.fetch.reading import Fetched
from pipeline.ingest.moments import seconds
from pipeline.ingest.raw import RawItem, RawPurchase, Reject

SPLITS = tuple(SPLIT_TYPE.categories)
ROWS_FLOOR, ROWS_A_BYTE = 1_000_000, 8  # of a Parquet file; a row of honest tables takes more than a bit
TEXT_A_BYTE = 100  # a long path of categories, the same for many items in a row, becomes some bits
LONGEST_ID, SHOWN = 512, 100  # characters of an id, and of one in a reject
TOO_LONG = f"an id of more than {LONGEST_ID} characters"


class TableSource:
    """The two tables, opened; images are read when somebody looks at them.

    Args:
        folder: holds both tables; image paths begin there.
        dates: the form of dates in `time`, as strptime has it; "": ISO 8601.
        photos: those that were fetched.

    Raises:
        SourceError: a table is missing, there twice, unreadable, or lacks a column.
    """

    def __init__(self, folder: Path, dates: str = "", photos: Fetched | None = None):
        self._dates, self._photos = dates, photos
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; expected one with items.csv and purchases.csv (or .parquet)")
        self.folder = folder
        self._items = _read(folder, "items", ("item_id", "image", "categories"), optional="title")
        self._purchases = _read(folder, "purchases", ("user_id", "item_id", "time"), optional="split")

    def items(self) -> Iterator[RawItem | Reject]:
        """Yields the items in the order of the table."""
        for item_id, image, categories, title in self._items.iter_rows():
            if not item_id:
                yield Reject("item", "", "no item_id")
                continue
            if len(item_id) > LONGEST_ID:
                yield Reject("item", item_id[:SHOWN], TOO_LONG)
                continue
            yield RawItem(item_id, _paths(categories), title, self._reader(item_id, image))

    def _reader(self, item_id: str, image: str) -> Callable[[], bytes] | None:
        if _is_address(image):
            return partial(_read_fetched, self._photos, item_id, image)
        return partial(_read_image, self.folder, image) if image else None

    def has_addresses(self) -> bool:
        """Whether some images are addresses rather than paths."""
        return any(map(_is_address, self._items["image"]))

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Yields items by id, with the addresses of those images that have one; of an id that repeats, the first."""
        items = self._items.select("item_id", "image").unique("item_id", keep="first", maintain_order=True)
        for item_id, image in items.sort("item_id").iter_rows():
            if item_id and len(item_id) <= LONGEST_ID and _is_address(image):
                yield item_id, image

    def purchases(self) -> Iterator[RawPurchase | Reject]:
        """Yields the purchases in the order of the table."""
        for user_id, item_id, time, source_split in self._purchases.iter_rows():
            try:
                yield _purchase(user_id, item_id, time, source_split=source_split, dates=self._dates)
            except Unusable as fault:
                yield Reject("purchase", item_id[:SHOWN], fault.reason)


def _read(folder: Path, name: str, required: tuple[str, ...], *, optional: str) -> pl.DataFrame:
    """Reads a table as text: the required columns, then the optional one, with empty text for what is missing."""
    paths = [folder / f"{name}{suffix}" for suffix in (".csv", ".parquet")]
    paths = [path for path in paths if path.exists()]
    if len(paths) != 1:
        count = "both are" if paths else "neither is"
        raise SourceError(f"{folder}: expected {name}.csv or {name}.parquet; {count} there")
    path = paths[0]
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            frame = pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else _parquet(path, size)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as fault:
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        raise SourceError(f"{path}: not a readable {path.suffix[1:]} file: {reason}") from None
    missing = [column for column in required if column not in frame.columns]
    if missing:
        columns = ascii(", ".join(frame.columns[:20]))[:200]  # of a file that is no table, the first line is anything
        raise SourceError(f"{path}: no column {', '.join(missing)}; expected {', '.join(required)}, found {columns}")
    if optional not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias(optional))
    wanted = (*required, optional)
    texts = [pl.col(column).str.len_bytes().sum() for column in wanted if frame.schema[column] == pl.String]
    Allowance(path, size, factor=TEXT_A_BYTE).spend(sum(frame.select(texts).sum_horizontal()) if texts else 0)
    return frame.select(_as_text(frame.schema[column], column, path) for column in wanted)


def _parquet(path: Path, size: int) -> pl.DataFrame:
    """Reads a table unless it has more rows than a file of its size can honestly hold: the count is in its footer."""
    rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    if rows > ROWS_FLOOR + ROWS_A_BYTE * size:
        raise SourceError(f"{path}: {rows} rows in {size} bytes: refused, since no real table is so small")
    return pl.read_parquet(path)


def _as_text(dtype: pl.DataType, column: str, path: Path) -> pl.Expr:
    """Spells a column as text without spaces around it; Parquet's own dates become seconds."""
    cells = pl.col(column)
    if column == "time" and dtype in (pl.Date, pl.Datetime):
        cells = cells.dt.epoch("s")
    elif column == "time" and dtype.is_float():  # what pandas makes of whole seconds where some are missing
        cells = cells.cast(pl.Int64, strict=False)
    elif not (dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise SourceError(f"{path}: column {column} holds {dtype}; expected text or whole numbers")
    return cells.cast(pl.String).str.strip_chars().fill_null("")


def _purchase(user_id: str, item_id: str, time: str, *, source_split: str, dates: str) -> RawPurchase:
    if not user_id:
        raise Unusable("no user_id")
    if max(len(user_id), len(item_id)) > LONGEST_ID:
        raise Unusable(TOO_LONG)
    if not item_id:
        raise Unusable("no item_id")
    if source_split and source_split not in SPLITS:
        raise Unusable(f"split is none of {', '.join(SPLITS)}")
    return RawPurchase(user_id, item_id, seconds(time, dates), source_split or None)


def _paths(text: str) -> list[list[str]]:
    paths = ([name.strip() for name in path.split(">") if name.strip()] for path in text.split("|"))
    return [path for path in paths if path]


def _is_address(image: str) -> bool:
    return image[:8].lower().startswith(("http://", "https://"))


def _read_fetched(photos: Fetched | None, item_id: str, address: str) -> bytes:
    """The photo of an item, unless that in the ledger is of another address: of another source, or of before."""
    photo = photos.read(item_id) if photos is not None and photos.is_of(item_id, address) else None
    if photo is None:
        raise Unusable(NO_IMAGE)
    return photo


def _read_image(folder: Path, image: str) -> bytes:
    # Judged by its spelling and not by where links lead: links inside the folder are its owner's, and DVC makes some.
    inside = os.path.normpath(image)
    if os.path.isabs(image) or inside.split(os.sep)[0] == os.pardir:
        raise Unusable("image path leaves the folder")
    try:
        with open_regular(folder / inside) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_IMAGE:
                raise Unusable(f"image of more than {LARGEST_IMAGE >> 20} MiB")
            return read_whole(file, size)
    except Irregular:
        raise Unusable("image file missing: not a regular file") from None
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable("image file missing") from None
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        raise Unusable("image file cannot be read") from None
