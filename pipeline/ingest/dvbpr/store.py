"""The entries of a pickle's tables, on the disk: they leave memory as they are read, and come back by their keys.

What goes to the disk is pickled again here, and read here alone, through an allow-list of its own.
"""

import errno
import io
import os
import pickle
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.core.errors import SourceError
from pipeline.ingest.allowance import Allowance
from pipeline.ingest.dvbpr.keys import key_of
from pipeline.ingest.dvbpr.standins import ObjectArray, Refused, Span
from pipeline.ingest.dvbpr.tables import Keyed, Listed, Spelt

BLOCK = 1000  # entries that go to the disk together
ENTRY = 32  # bytes of an entry on the disk beside what it holds
CACHE = 8 << 20  # bytes of the disk's pages that are kept in memory

# Nobody else sees the file, and it is lost with the process: it need not survive anything.
_SET_UP = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA cache_size = -{CACHE >> 10};
CREATE TABLE bodies (place INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE entries (part, key, spelling, place, PRIMARY KEY (part, key)) WITHOUT ROWID;
BEGIN;
"""
# An index that comes again in the same spelling has another value; in another spelling, it is no second entry.
_ADD = """INSERT INTO entries VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET place = excluded.place WHERE spelling IS excluded.spelling"""
_BODIES = "SELECT key, body FROM entries JOIN bodies USING (place) WHERE part = ?"
_TYPES: tuple[type, ...] = (Span, ObjectArray, dict, list)  # what our packer names
_OURS = {(kind.__module__, kind.__name__): kind for kind in _TYPES}


class Store:
    """Tables in a file without a name: it goes with the process, however that ends.

    Args:
        origin: the file that they are read from, in messages.
        size: of that file, in bytes: how much may be kept depends on it.
        scratch: the folder on whose disk they lie; None: the system's for temporary files.

    Attributes:
        clashing: tables that have an index twice, in two spellings.
    """

    def __init__(self, origin: Path, size: int, scratch: Path | None = None):
        self._origin, self._allowance = origin, Allowance(origin, size)
        self._parts = self._places = 0
        self.clashing: set[int] = set()
        handle, name = tempfile.mkstemp(dir=scratch, prefix=".entries")
        os.close(handle)
        try:
            with self._faults_told():
                self._disk = sqlite3.connect(name, isolation_level=None)
                self._disk.executescript(_SET_UP)
        finally:
            os.unlink(name)

    def new_part(self) -> int:
        """A number for another table."""
        self._parts += 1
        return self._parts

    def keep(self, part: int, entries: Iterable[Spelt]) -> None:
        """Takes entries of a table, with their keys as the pickle has them.

        Raises:
            Refused: an entry holds what is no data, or is nested too deeply.
            SourceError: the tables outgrow the file by far.
        """
        entries = iter(entries)
        while block := list(islice(entries, BLOCK)):
            rows, bodies = [], []
            for name, value in block:
                key, body = key_of(name), _packed(value)
                self._allowance.spend(ENTRY + len(body))
                spelling = None if type(name) is int else repr(name)
                rows.append((part, str(name) if key is None else key, spelling, self._places))
                bodies.append((self._places, body))
                self._places += 1
            with self._faults_told():
                self._disk.executemany("INSERT INTO bodies VALUES (?, ?)", bodies)
                if self._disk.executemany(_ADD, rows).rowcount < len(rows):
                    self.clashing.add(part)

    def entries(self, part: int) -> Iterator[tuple[int | str, object]]:
        """Yields the entries of a table by key, numbers before names."""
        with self._faults_told():
            for key, body in self._disk.execute(f"{_BODIES} ORDER BY key", (part,)):
                yield key, _unpacked(body)

    def get(self, part: int, key: int | str) -> object:
        """The value of a key; None where the table has none."""
        with self._faults_told():
            row = self._disk.execute(f"{_BODIES} AND key = ?", (part, key)).fetchone()
        return None if row is None else _unpacked(row[1])

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as fault:
            if fault.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from fault
            raise SourceError(f"{self._origin}: its tables cannot be kept on the disk meanwhile: {fault}") from None


class _Packer(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        """How our own types are written, and their names; called for whatever is no plain data."""
        if type(value) is Span:
            return Span, (value.offset, value.length, value.is_text, value.is_latin1)
        # What begins where a table may is none where it is the only entry of one.
        if type(value) is ObjectArray:
            return ObjectArray, (), None, iter(value if value.table is None else value.table.whole())
        if type(value) is Listed:
            return list, (), None, iter(value.whole())
        if type(value) is Keyed:
            return dict, (), None, None, iter(value.whole().items())
        if value in _TYPES:
            return NotImplemented
        raise Refused("holds a name where data belong: refused")


class _Unpacker(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        """Answers the names that our packer writes, and no other."""
        return _OURS[module, name]


def _packed(value: object) -> bytes:
    stream = io.BytesIO()
    try:
        _Packer(stream, 5).dump(value)
    except RecursionError:
        raise Refused("nests lists or dictionaries too deeply: refused") from None
    return stream.getvalue()


def _unpacked(body: bytes) -> object:
    return _Unpacker(io.BytesIO(body)).load()
