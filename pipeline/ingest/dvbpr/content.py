"""What a file in the DVBPR layout holds: an .npy file of pickled objects, read as `unpickle` reads them."""

import errno
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.lib import format as npy

from pipeline.core.errors import SourceError
from pipeline.core.progress import Progress
from pipeline.core.regular_file import Irregular, open_regular
from pipeline.ingest.dvbpr.fetched import count_fetched
from pipeline.ingest.dvbpr.standins import ObjectArray, Refused, one_line
from pipeline.ingest.dvbpr.store import Store
from pipeline.ingest.dvbpr.tables import Keyed, Listed, Table
from pipeline.ingest.dvbpr.unpickle import Unpickler

LONGEST_HEADER = 1 << 16


def _skip_header(file: BinaryIO, path: Path) -> None:
    """Leaves `file` where the pickle begins; raises SourceError unless it is an .npy file of objects."""
    start = io.BytesIO(file.read(LONGEST_HEADER))  # a header's length is the file's word: read no more than this
    try:
        major, _ = npy.read_magic(start)
        # Version 3 differs from 2 in the names of fields, which an array of objects has not.
        read_header = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0, 3: npy.read_array_header_2_0}[major]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it
            _, _, dtype = read_header(start)
    except Exception:  # numpy names no list of what a damaged header can raise
        raise SourceError(f"{path}: not an .npy file; expected one that holds an array of objects") from None
    if dtype.kind != "O":
        raise SourceError(f"{path}: an array of {one_line(str(dtype))}; expected an array of objects")
    file.seek(start.tell())


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        path: the file.
        entries: the array's; the first ones may be a Table, or have one where they are arrays.
        store: has the entries of those tables.
        size: of the file, in bytes.
    """

    path: Path
    entries: list
    store: Store
    size: int

    def part(self, table: object) -> int:
        """The number of a table in the store, one of `entries`, which may be a Table, an array, a dict or a sequence.

        Raises:
            SourceError: it has the same index twice, or holds what is no data.
        """
        kept = table.table if isinstance(table, ObjectArray) and table.table is not None else table
        try:
            kept = kept if isinstance(kept, Table) else _stored(kept, self.store)
            kept.flush()
        except Refused as fault:
            raise SourceError(f"{self.path}: {fault}") from None
        if kept.part in self.store.clashing:
            raise SourceError(f"{self.path}: a table has the same index twice, as a number and as text")
        return kept.part


def _stored(table: Any, store: Store) -> Keyed | Listed:
    """Puts a dict or a sequence that was made elsewhere in the file into the store."""
    if isinstance(table, dict):
        keyed = Keyed(store)
        keyed.update(table.items())
        return keyed
    listed = Listed(store)
    listed.extend(table)
    return listed


def _load(file: io.BufferedReader, store: Store, size: int) -> object:
    """What the pickle that begins here holds; its tables are in the store. It is read twice."""
    start = file.tell()
    with Progress("ingest", 2 * size >> 20, "MiB of the file, which is read twice") as progress:

        def at(place: int) -> None:
            if more := (place >> 20) - progress.done:
                progress.add(more)

        fetched = count_fetched(file, size, at=at)
        file.seek(start)
        content = Unpickler(file, store, fetched).load(lambda place: at(size + place))
        at(2 * size)
        return content


def read_objects(path: Path, scratch: Path | None = None) -> Content:
    """Reads an array of objects: dicts, lists, tuples, numbers and strings, with a Span for every long string.

    Args:
        path: the file.
        scratch: the folder on whose disk its tables lie meanwhile; None: the system's for temporary files.

    Raises:
        SourceError: the file cannot be read, is of another kind, is damaged, or asks for more than data.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        with _faults_told(file, path):
            _skip_header(file, path)
        store = Store(path, size, scratch)
        with _faults_told(file, path):
            content = _load(file, store, size)
    if type(content) is not ObjectArray:
        name = getattr(content, "name", type(content).__name__)
        raise SourceError(f"{path}: a pickled {name}; expected an array of objects")
    return Content(path, content, store, size)


def _opened(path: Path) -> io.BufferedReader:
    try:
        return io.BufferedReader(open_regular(path))  # type: ignore[arg-type]  # it is a raw file
    except (FileNotFoundError, NotADirectoryError, Irregular):
        raise SourceError(f"{path}: no such file, or not a regular one") from None
    except OSError as fault:
        raise SourceError(f"{path}: cannot be read: {fault.strerror or fault}") from None


@contextmanager
def _faults_told(file: BinaryIO, path: Path) -> Iterator[None]:
    """Raises SourceError for whatever a damaged pickle, or one that is no plain data, makes an unpickler raise."""
    try:
        yield
    except SourceError:
        raise
    except Refused as fault:
        raise SourceError(f"{path}: {fault}") from None
    except OSError as fault:
        if fault.errno == errno.ENOSPC:  # of the scratch folder's disk
            raise
        raise SourceError(f"{path}: cannot be read: {fault.strerror or fault}") from None
    except Exception as fault:  # nearly anything
        reason = f"near byte {file.tell()}: {type(fault).__name__}: {one_line(str(fault))}"
        raise SourceError(f"{path}: damaged or truncated: {reason}") from None
