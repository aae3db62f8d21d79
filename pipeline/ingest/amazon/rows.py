"""The rows of a file, whatever its form: each a record by the names of its release, or why it is none."""

import json
from collections.abc import Iterator

import polars as pl

from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest.amazon import records
from pipeline.ingest.amazon.lines import TOO_LONG, lines
from pipeline.ingest.amazon.release import Kind

BLOCK = 20_000  # rows of a parquet file at a time
_WANTED = {
    "items": ("parent_asin", "title", "categories", "details", "images"),
    "reviews": ("user_id", "parent_asin", "rating", "timestamp", "verified_purchase"),
}

Row = tuple[int, dict | Unusable]


def rows(kind: Kind) -> Iterator[Row]:
    """The rows of a file in its order, a few of them in memory.

    Yields:
        line, record: the number of the line, or of the row of a parquet file, from 1; the record by field, or an
            Unusable that says why it is none.

    Raises:
        SourceError: the file cannot be read to its end.
    """
    if kind.form == "parquet":
        yield from _parquet(kind)
        return
    for number, line in lines(kind.path):
        if number == 1 and kind.has_header:
            continue
        yield number, Unusable(TOO_LONG) if line is None else _record(line, kind)


def _record(line: bytes, kind: Kind) -> dict | Unusable:
    try:
        if kind.form == "json":
            return records.from_json(line)
        return records.from_literal(line) if kind.form == "literal" else _rating(line, kind.columns)
    except Unusable as fault:
        return fault


def _rating(line: bytes, columns: tuple[str, ...]) -> dict:
    cells = line.decode("utf-8", "replace").split(",")
    if len(cells) != len(columns):
        raise Unusable(f"not {len(columns)} columns")
    record: dict[str, object] = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if name}
    for name in ("rating", "overall", "timestamp", "unixReviewTime"):
        if name in record:
            record[name] = _number(str(record[name]))
    return record


def _number(text: str) -> object:
    """A number that a cell spells, or the cell: a time of 2018 may be spelt 1413763200.0."""
    try:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else float(text)
    except ValueError:
        return text


def _parquet(kind: Kind) -> Iterator[Row]:
    """The hub's files; what a dict holds is JSON text there."""
    try:
        scan = pl.scan_parquet(kind.path)
        names = [name for name in _WANTED[kind.content] if name in scan.collect_schema()]
        start = 0
        while len(frame := scan.select(names).slice(start, BLOCK).collect()):
            for number, record in enumerate(frame.iter_rows(named=True), start + 1):
                yield number, _details_read(record)
            start += BLOCK
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as fault:
        reason = (str(fault) or type(fault).__name__).splitlines()[0][:200]
        raise SourceError(f"{kind.path}: damaged or cut short ({reason}): get the file again") from None


def _details_read(record: dict) -> dict:
    if isinstance(text := record.get("details"), str):
        try:
            record["details"] = json.loads(text)
        except (ValueError, RecursionError):
            record["details"] = None
    return record
