"""The ledger of fetched photos: a line for each item and address, with its check sum, appended and never changed.

A line is `CHECKSUM JSON`: the values of a Row, or, in a line of its own, how many rows from the first one are on the
disk together with their photos, whatever happens to the machine.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import polars as pl

from pipeline.core.errors import StageError

NAME = "ledger.txt"
BLOCK = 100_000  # rows that are gathered before they go into columns
LONGEST = 1 << 16  # bytes of a line

Status = Literal["fetched", "gone", "failed", "refused"]
SCHEMA = {
    "item_id": pl.String,
    "address": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "tries": pl.Int64,
    "bytes": pl.Int64,
    "digest": pl.String,
    "shard": pl.Int64,
    "offset": pl.Int64,
}
KINDS = [str if kind == pl.String else int for kind in SCHEMA.values()]


class Row(NamedTuple):
    """What is known of an item's address.

    Attributes:
        item_id: the item.
        address: what was asked for.
        status: fetched; gone: asking again is of no use; failed: it may be of use; refused: it was not asked.
        reason: why there is no photo; empty where there is one.
        tries: requests that were made.
        bytes: of the photo.
        digest: of the photo, 32 hex digits; empty where there is none.
        shard: the number of the file that holds the photo.
        offset: where it begins there.
    """

    item_id: str
    address: str
    status: Status
    reason: str = ""
    tries: int = 0
    bytes: int = 0
    digest: str = ""
    shard: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Ledger:
    """A ledger that was read.

    Attributes:
        rows: in the order in which they came, as SCHEMA.
        end: bytes of the file up to the end of its last good line; behind it a process was stopped as it wrote.
        lost: lines before that which are damaged.
        safe: so many rows from the first one are on the disk with their photos.
    """

    rows: pl.DataFrame
    end: int
    lost: int
    safe: int

    def latest(self, *columns: pl.Expr | str) -> pl.DataFrame:
        """The last row of each item, by item: item_id and these columns, or all."""
        return last_rows(self.rows.select("item_id", *columns) if columns else self.rows)


def last_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each item_id the last row, by item_id.

    >>> last_rows(pl.DataFrame({"item_id": ["b", "a", "b"], "n": [1, 2, 3]})).rows()
    [('a', 2), ('b', 3)]
    """
    rows = rows.sort("item_id", maintain_order=True)
    return rows.filter(pl.col("item_id").ne_missing(pl.col("item_id").shift(-1)))  # `unique` takes twice the memory


def line(values: Iterable[object]) -> bytes:
    r"""A line of the ledger.

    >>> line([1])
    b'4c2f32b8 [1]\n'
    """
    text = json.dumps([*values], separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_ledger(folder: Path) -> Ledger:
    """Reads the ledger of a folder; one without any row where there is none.

    Raises:
        StageError: when it cannot be read, or is no ledger.
    """
    path = folder / NAME
    reader = _Reader(path)
    try:
        with path.open("rb") as file:
            for text in iter(lambda: file.readline(LONGEST), b""):
                reader.add(text)
    except FileNotFoundError:
        pass
    except OSError as fault:
        raise StageError(f"{path} cannot be read: {fault.strerror}") from None
    return reader.ledger()


class _Reader:
    """Lines to rows, a block at a time."""

    def __init__(self, path: Path):
        self._path, self._place, self._end, self._bad, self._lost, self._safe = path, 0, 0, 0, 0, 0
        self._rows: list[list] = []
        self._blocks = [pl.DataFrame(schema=SCHEMA)]

    def add(self, text: bytes) -> None:
        self._place += len(text)
        if (values := _values(text)) is None:
            self._bad += 1
            return
        self._lost, self._bad, self._end = self._lost + self._bad, 0, self._place
        kinds = [type(value) for value in values]
        if kinds == [int]:
            self._safe = values[0]
        elif kinds == KINDS:
            self._rows.append(values)
        else:
            self._refuse()
        if len(self._rows) == BLOCK:
            self._flush()

    def _flush(self) -> None:
        try:
            self._blocks.append(pl.DataFrame(self._rows, SCHEMA, orient="row", strict=True))
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            self._refuse()
        self._rows = []

    def _refuse(self) -> NoReturn:
        raise StageError(f"{self._path} is no ledger of this program") from None

    def ledger(self) -> Ledger:
        self._flush()
        # With lines lost, the count of those before no longer says which they are.
        return Ledger(pl.concat(self._blocks), self._end, self._lost, 0 if self._lost else self._safe)


def _values(text: bytes) -> list | None:
    """The values of a line; None where it is damaged or not whole."""
    check, _, content = text.rstrip(b"\n").partition(b" ")
    if not text.endswith(b"\n") or check != b"%08x" % zlib.crc32(content):
        return None
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, list) else None


def rows_of(frame: pl.DataFrame) -> Iterator[Row]:
    """The rows of a frame as SCHEMA."""
    for values in frame.select(*SCHEMA).iter_rows():
        yield Row(*values)


def cut(path: Path, end: int) -> None:
    """Takes away what stands behind the last good line."""
    if path.exists() and path.stat().st_size > end:
        os.truncate(path, end)
