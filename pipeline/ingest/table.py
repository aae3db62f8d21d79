"""A folder of two tables and image files: the format for anyone's own data.

items.csv or items.parquet: item_id, image (a path inside the folder, or an address that visagg fetch asks for, may be
empty), categories ("a > b | a > c"), and
title if there is one. purchases.csv or purchases.parquet: user_id, item_id, time (see moments.py), and split if there
is one.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import polars as pl

from pipeline.catalogue.tables import NO_IMAGE
from pipeline.catalogue.tables import SPLITS as SPLIT_TYPE
from pipeline.core.errors import SourceError, Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, Irregular, open_regular, read_whole
from pipeline.ingest.allowance import Allowance
from pipeline.ingest.delimited import Delimited, Form
from pipeline.ingest.fetch.reading import Fetched
from pipeline.ingest.moments import seconds
from pipeline.ingest.raw import RawItem, RawPurchase, Reject, Wrong, at_fault

SPLITS = tuple(SPLIT_TYPE.categories)
ROWS_FLOOR, ROWS_A_BYTE = 1_000_000, 8  # of a Parquet file; a row of honest tables takes more than a bit
TEXT_A_BYTE = 100  # a long path of categories, the same for many items in a row, becomes some bits
LONGEST_ID, SHOWN = 512, 100  # characters of an id, and of one in a reject
TOO_LONG = f"an id of more than {LONGEST_ID} characters"


class TableSource:
    """The two tables, opened; rows and images are read when somebody looks at them.

    Args:
        folder: holds both tables; image paths begin there.
        dates: the form of dates in `time`, as strptime has it; "": ISO 8601.
        form: how CSV files are written.
        photos: those that were fetched.

    Raises:
        SourceError: a table is missing, there twice, unreadable, or lacks a column.
    """

    def __init__(
        self,
        folder: Path,
        dates: str = "",
        form: Form = Form(),  # noqa: B008 (it cannot be changed)
        *,
        photos: Fetched | None = None,
    ):
        self._dates, self._photos = dates, photos
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; expected one with items.csv and purchases.csv (or .parquet)")
        self.folder = folder
        self._items = _open(folder, "items", Columns(("item_id", "image", "categories"), "title"), form=form)
        self._purchases = _open(folder, "purchases", Columns(("user_id", "item_id", "time"), "split"), form=form)

    def items(self) -> Iterator[RawItem | Reject]:
        """Yields the items in the order of the table."""
        file = self._items.path.name
        for line, row in self._items.rows():
            try:
                item_id, image, categories, title = _values(row)
                _require_id(item_id, "item_id")
            except Unusable as fault:
                yield Reject("item", _id_of(row, 0), fault.reason, file, line, **at_fault(fault))
                continue
            yield RawItem(item_id, _paths(categories), title, self._reader(item_id, image), file, line, image)

    def _reader(self, item_id: str, image: str) -> Callable[[], bytes] | None:
        if _is_address(image):
            return partial(_read_fetched, self._photos, item_id, image)
        return partial(_read_image, self.folder, image) if image else None

    def has_addresses(self) -> bool:
        """Whether some images are addresses rather than paths."""
        return any(_is_address(item.image_name) for item in self.items() if isinstance(item, RawItem))

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Yields items by id, with the addresses of those images that have one; of an id that repeats, the first."""
        items = (item for item in self.items() if isinstance(item, RawItem))
        rows = ((item.item_id, item.image_name) for item in items)
        named = pl.DataFrame(rows, {"item_id": pl.String, "image": pl.String}, orient="row")
        for item_id, image in named.unique("item_id", keep="first").sort("item_id").iter_rows():
            if _is_address(image):
                yield item_id, image

    def purchases(self) -> Iterator[RawPurchase | Reject]:
        """Yields the purchases in the order of the table."""
        file = self._purchases.path.name
        for line, row in self._purchases.rows():
            try:
                user_id, item_id, time, split = _values(row)
                source_split = _require_purchase(user_id, item_id, split)
                yield RawPurchase(user_id, item_id, _seconds(time, self._dates), source_split, file, line)
            except Unusable as fault:
                yield Reject("purchase", _id_of(row, 1), fault.reason, file, line, **at_fault(fault))


Row = tuple[str, ...] | Unusable


@dataclass(frozen=True)
class Columns:
    """The columns that are read of a table: those it must have, then one that it may have."""

    required: tuple[str, ...]
    optional: str


class Table(Protocol):
    """One of the two tables."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yields each row's number, from 1, and its values in the order of the columns, or why it is none."""
        ...


@dataclass(frozen=True)
class CsvTable:
    """A table in a CSV file, which is read anew each time; a row's number is that of its line."""

    path: Path
    file: Delimited
    places: list[int | None]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """As `Table` says."""
        for line, fields in self.file.rows():
            if isinstance(fields, Unusable):
                yield line, fields
            else:
                yield line, tuple("" if place is None else fields[place].strip() for place in self.places)


@dataclass(frozen=True)
class ParquetTable:
    """A table in a Parquet file, in memory."""

    path: Path
    frame: pl.DataFrame

    def rows(self) -> Iterator[tuple[int, Row]]:
        """As `Table` says."""
        return enumerate(self.frame.iter_rows(), 1)


def _open(folder: Path, name: str, columns: Columns, *, form: Form) -> Table:
    """Opens a table: the required columns, then the optional one, with empty text for what is missing."""
    paths = [folder / f"{name}{suffix}" for suffix in (".csv", ".parquet")]
    paths = [path for path in paths if path.exists()]
    if len(paths) != 1:
        count = "both are" if paths else "neither is"
        raise SourceError(f"{folder}: expected {name}.csv or {name}.parquet; {count} there")
    path = paths[0]
    try:
        if path.suffix == ".csv":
            file = Delimited(path, form, columns.required)
            wanted = (*columns.required, columns.optional)
            places = [file.columns.index(column) if column in file.columns else None for column in wanted]
            return CsvTable(path, file, places)
        with open_regular(path) as opened:
            return ParquetTable(path, _texts(path, os.fstat(opened.fileno()).st_size, columns))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as fault:
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        raise SourceError(f"{path}: not a readable {path.suffix[1:]} file: {reason}") from None


def _texts(path: Path, size: int, columns: Columns) -> pl.DataFrame:
    """Reads a Parquet file of so many bytes as text."""
    frame = _parquet(path, size)
    if missing := [column for column in columns.required if column not in frame.columns]:
        found = ascii(", ".join(frame.columns[:20]))[:200]
        expected = ", ".join(columns.required)
        raise SourceError(f"{path}: no column {', '.join(missing)}; expected {expected}, found {found}")
    if columns.optional not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias(columns.optional))
    wanted = (*columns.required, columns.optional)
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


def _values(row: Row) -> tuple[str, ...]:
    if isinstance(row, Unusable):
        raise row
    return row


def _id_of(row: Row, place: int) -> str:
    """The item's id in a row, as far as it has one."""
    return "" if isinstance(row, Unusable) else row[place][:SHOWN]


def _require_id(text: str, column: str) -> None:
    if not text:
        raise Wrong(f"no {column}", column, text)
    if len(text) > LONGEST_ID:
        raise Wrong(TOO_LONG, column, text)


def _require_purchase(user_id: str, item_id: str, split: str) -> str | None:
    """The split of a purchase, whose ids are to be ids."""
    _require_id(user_id, "user_id")
    _require_id(item_id, "item_id")
    if split and split not in SPLITS:
        raise Wrong(f"split is none of {', '.join(SPLITS)}", "split", split)
    return split or None


def _seconds(time: str, dates: str) -> int:
    try:
        return seconds(time, dates)
    except Unusable as fault:
        raise Wrong(fault.reason, "time", time) from None


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
