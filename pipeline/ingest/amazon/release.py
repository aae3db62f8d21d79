"""Which release a file is of, and whether it lists items or reviews: told by its content, never by its name."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl

from pipeline.core.errors import SourceError, Unusable
from pipeline.core.text import shown
from pipeline.ingest.amazon import records
from pipeline.ingest.amazon.lines import PARQUET, first_bytes, lines

Release = Literal["2014", "2018", "2023"]
LOOKED_AT = 200  # lines, before a file is said to be of no release
ASIN = re.compile(r"[0-9A-Z]{10}")
EXPECTED = "expected items or reviews of the Amazon reviews of 2014, 2018 or 2023 (JSON lines, literals, csv, parquet)"

# Keys that only one release has, of items and of reviews.
_ITEMS: dict[Release, set[str]] = {
    "2014": {"imUrl", "categories", "salesRank"},
    "2018": {"imageURL", "imageURLHighRes", "category", "main_cat", "also_buy", "also_view", "tech1", "fit"},
    "2023": {"parent_asin", "main_category", "images"},
}
_RATINGS_2023 = ["user_id", "parent_asin", "rating", "timestamp"]
_FIRST_MILLISECOND = 10**11  # as seconds it is the year 5138, as milliseconds 1973


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Attributes:
        path: the file.
        release: "2014", "2018" or "2023".
        content: "items" or "reviews"; ratings are reviews.
        form: "json", "literal", "csv" or "parquet".
        columns: of a csv file, in its order; "" for one that is not read.
        has_header: whether a csv file's first line names its columns.
    """

    path: Path
    release: Release
    content: Literal["items", "reviews"]
    form: Literal["json", "literal", "csv", "parquet"]
    columns: tuple[str, ...] = ()
    has_header: bool = False


def recognise(path: Path) -> Kind:
    """What a file is, by its first bytes and lines.

    Raises:
        SourceError: it cannot be read, or is of no release.
    """
    if first_bytes(path) == PARQUET:
        return _parquet(path)
    start = [line for _, line in islice(lines(path), LOOKED_AT) if line is not None]
    if not start:
        raise SourceError(f"{path}: empty; {EXPECTED}")
    kind = _of_records(path, start) if start[0].lstrip().startswith(b"{") else _of_ratings(path, start)
    if kind is None:
        raise SourceError(f"{path}: begins with {shown(start[0][:60])}; {EXPECTED}")
    return kind


def _parquet(path: Path) -> Kind:
    try:
        columns = set(pl.scan_parquet(path).collect_schema())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as fault:
        raise SourceError(f"{path}: not readable as parquet: {str(fault).splitlines()[0][:200]}") from None
    if {"user_id", "parent_asin", "timestamp"} <= columns:
        return Kind(path, "2023", "reviews", "parquet")
    if {"parent_asin", "categories"} <= columns:
        return Kind(path, "2023", "items", "parquet")
    raise SourceError(f"{path}: columns {shown(', '.join(sorted(columns)))}; {EXPECTED}")


def _of_records(path: Path, start: list[bytes]) -> Kind | None:
    """JSON or literals: the keys of the first records tell the release."""
    keys: set[str] = set()
    is_json = any(_keys(line, records.from_json) for line in start[:20])
    for found in _all_keys(start, is_json=is_json):
        keys |= found
    if {"user_id", "rating"} <= keys or {"reviewerID", "overall"} <= keys:
        release: Release = "2023" if "user_id" in keys else "2018" if "verified" in keys else "2014"
        return Kind(path, release, "reviews", "json" if is_json else "literal")
    if not is_json:
        return Kind(path, "2014", "items", "literal") if "asin" in keys else None
    fits = {release: len(keys & names) for release, names in _ITEMS.items()}
    if {"asin", "parent_asin"} & keys and (best := max(fits.values())):
        return Kind(path, next(release for release in reversed(_ITEMS) if fits[release] == best), "items", "json")
    return None


def _all_keys(start: list[bytes], *, is_json: bool) -> Iterator[set[str]]:
    for line in start:
        yield _keys(line, records.from_json if is_json else records.from_literal)


def _keys(line: bytes, parse: Callable[[bytes], dict]) -> set[str]:
    try:
        return {key for key in parse(line) if isinstance(key, str)}
    except Unusable:
        return set()


def _of_ratings(path: Path, start: list[bytes]) -> Kind | None:
    """Ratings in csv: with the header of 2023, or without one, when ids and times tell the release."""
    rows = [line.decode("utf-8", "replace").split(",") for line in start]
    if set(_RATINGS_2023) <= set(rows[0]):
        named = tuple(name if name in _RATINGS_2023 else "" for name in rows[0])
        return Kind(path, "2023", "reviews", "csv", named, has_header=True)
    rows = [row for row in rows if len(row) == 4 and row[3].isdecimal()]
    if not rows:
        return None
    if any(int(row[3][:19]) >= _FIRST_MILLISECOND for row in rows):
        return Kind(path, "2023", "reviews", "csv", ("user_id", "parent_asin", "rating", "timestamp"))
    is_asin = [all(ASIN.fullmatch(row[column]) for row in rows) for column in (0, 1)]
    if is_asin[0] == is_asin[1]:
        raise SourceError(f"{path}: which of its first two columns is the item cannot be told: neither, or both, are")
    columns = ("asin", "reviewerID") if is_asin[0] else ("reviewerID", "asin")
    release: Release = "2018" if is_asin[0] else "2014"
    return Kind(path, release, "reviews", "csv", (*columns, "overall", "unixReviewTime"))
