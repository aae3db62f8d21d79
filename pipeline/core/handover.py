"""What stages hand over, sealed when it is written and made sure of when it is read, whoever wrote it.

A record is JSON whose last key, `seal`, is the digest of all others: one that was damaged, cut or changed by hand is
refused rather than believed. A record that speaks for other files has their digests, so that files of two runs cannot
pass for one. What is read is of the kinds that its reader declares, and every number in it is finite.
"""

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import polars as pl
from pydantic import Field, TypeAdapter, ValidationError

from pipeline.core import provenance, table
from pipeline.core.errors import StageError
from pipeline.core.files import json_text, write_aside
from pipeline.core.table import Table

SEAL = "seal"
LARGEST_RECORD = 256 << 20  # bytes
MOST_ROWS_A_BYTE = 64  # of a table: no column of names is compressed so far

Dim = Annotated[int, Field(ge=1, le=1 << 16)]  # numbers a vector
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]+$")]
Files = dict[str, Hex]  # digests of files, by their names in the record's folder
T = TypeVar("T")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values with their seal as the last key.

    >>> sealed({"value": 0.5})
    {'value': 0.5, 'seal': 'b4f31478caad825d8a32044a64a65176'}
    """
    return {**content, SEAL: _seal(content)}


def _seal(content: Mapping[str, Any]) -> str:
    return provenance.digest(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hex()


def write_record(path: Path, content: Mapping[str, Any]) -> str:
    """Writes a record, whole or not at all, and returns its seal.

    Raises:
        StageError: when a number in it is not finite, or another process is writing it.
    """
    record = sealed(content)
    with write_aside(path) as aside:
        aside.write_text(json_text(record, path), encoding="utf-8")
    return record[SEAL]


def write_record_of(folder: Path, name: str, content: Mapping[str, Any], *, files: Iterable[str]) -> None:
    """Writes the record of a folder that is being filled, with the digests of some of its files under `files`.

    Raises:
        StageError: when a number in it is not finite.
    """
    digests = {file: file_digest(folder / file) for file in sorted(files)}
    (folder / name).write_text(json_text(sealed({**content, "files": digests}), folder / name), encoding="utf-8")


def read_record(path: Path, kind: type[T], *, again: str) -> T:
    """Reads a record as a kind: a TypedDict or a dataclass, whose fields say what is allowed.

    Args:
        path: the file.
        kind: what it should be.
        again: what makes it anew, for messages: "run visagg sets".

    Raises:
        StageError: when it is missing, damaged, changed, or of another kind.
    """
    try:
        if path.stat().st_size > LARGEST_RECORD:
            damaged(path, f"{path.stat().st_size:,} bytes long", again=again)
        return parse_record(path.read_bytes(), kind, path, again=again)
    except (FileNotFoundError, NotADirectoryError):
        raise StageError(f"{path} is missing: {again}, or dvc repro") from None
    except OSError as error:
        damaged(path, str(error.strerror), again=again)


def parse_record(text: bytes, kind: type[T], path: Path, *, again: str) -> T:
    """A record's text as a kind; arguments and errors as of `read_record`."""
    try:
        content = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if content.pop(SEAL) != _seal(content):
            damaged(path, "it was changed since it was written", again=again)
        return _adapter(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", again=again)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        damaged(path, "it is no record of this program", again=again)


def exists(path: Path) -> bool:
    """Whether there is something to read: what is there and cannot be read is damaged, not missing."""
    return path.exists() or path.is_symlink()


@cache
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


def damaged(path: Path, why: str, *, again: str) -> NoReturn:
    """Refuses what a stage was handed.

    Raises:
        StageError: with why, and what makes it anew.
    """
    raise StageError(f"{path} is damaged ({' '.join(why.split())[:200]}): {again}, or dvc repro")


def file_digest(path: Path) -> str:
    """BLAKE2b of a file, 32 hex digits, read a block at a time."""
    total = blake2b(digest_size=provenance.DIGEST_BYTES)
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def require_file(path: Path, digest: str, *, again: str) -> None:
    """Makes sure that a file is the one that a record speaks of.

    Raises:
        StageError: when it is missing, or another.
    """
    try:
        if file_digest(path) == digest:
            return
    except (FileNotFoundError, NotADirectoryError):
        raise StageError(f"{path} is missing: {again}, or dvc repro") from None
    damaged(path, "it is not the file that was written with its neighbours", again=again)


def read_frame(
    path: Path, schema: Mapping[str, pl.DataType], *, digest: str, again: str, nullable: Iterable[str] = ()
) -> pl.DataFrame:
    """Reads a table (Parquet) that a record speaks of: with these columns, no null but in some, no NaN or infinity.

    Args:
        path: the file.
        schema: columns that it has, with their types.
        digest: of the file, as its record has it.
        again: what makes it anew, for messages.
        nullable: columns that may hold nulls.

    Raises:
        StageError: when it is missing or damaged.
    """
    return open_table(path, schema, digest=digest, again=again, nullable=nullable).read()


def open_table(
    path: Path, schema: Mapping[str, pl.DataType], *, digest: str, again: str, nullable: Iterable[str] = ()
) -> Table:
    """As `read_frame`, for one that is read a part at a time; its values are looked at as they are read."""
    require_file(path, digest, again=again)
    opened = Table(pl.scan_parquet(path), partial(damaged, path, again=again), frozenset(nullable))
    with opened.refusing():
        columns = opened.rows.collect_schema()
        if wrong := [name for name in schema if columns.get(name) != schema[name]]:
            damaged(path, f"no column {wrong[0]} of type {schema[wrong[0]]}", again=again)
        if len(opened) > MOST_ROWS_A_BYTE * path.stat().st_size:
            damaged(path, "more rows than it has room for", again=again)
    return opened


def require_numbers(frame: pl.DataFrame, path: Path, *, again: str, nullable: Iterable[str] = ()) -> None:
    """Makes sure that a file's table has no null but in some columns, and no number that is not finite.

    Raises:
        StageError: with the column.
    """
    table.require_numbers(frame, partial(damaged, path, again=again), nullable=nullable)
