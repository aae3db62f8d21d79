"""A store as it is made and written: laid out once, then filled in place."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from pipeline.core import provenance
from pipeline.core.errors import StoreError
from pipeline.core.files import reserve, write_aside
from pipeline.core.lock import hold
from pipeline.embeddings.store import (
    BLOCK,
    DONE,
    PENDING,
    TYPES,
    UNREADABLE,
    USER_BLOCK,
    Embeddings,
    checksums,
    finite,
    seal,
    unreadable_checksums,
)

BYTES_BESIDE = 1 + 16 + 4  # a row's status, digest and crc
HDF5_SLACK = 1 << 16  # room for HDF5's own records


class EmbeddingWriter:
    """A store opened for writing, by one process at a time. Made by `open_for_writing`."""

    def __init__(self, path: Path):
        store = Embeddings(path)
        self._path, self._fingerprint = path, store.fingerprint
        self._digests, self._offsets, self._dim = store.digests, store.offsets, store.dim
        self._status = store.status.copy()
        self._file = os.open(path, os.O_RDWR)

    def pending(self) -> np.ndarray:
        """Rows that have no vector and no verdict yet, int64, ascending."""
        return np.flatnonzero(self._status == PENDING)

    def count(self, status: int) -> int:
        """How many rows have a status."""
        return int((self._status == status).sum())

    def write(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Stores vectors and marks their rows done; durable, in that order.

        Args:
            rows: integer [m], ascending.
            vectors: float [m, d]; kept as float16.

        Raises:
            StoreError: when a vector does not fit the store's dimension or is not finite in float16.
        """
        if not len(rows):
            return
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(vectors, np.float16)
        if vectors.shape != (len(rows), self._dim) or not finite(vectors).all():
            raise StoreError(f"vectors {vectors.shape} do not fit a store of dimension {self._dim}, or are not finite")
        crc = checksums(vectors, self._digests[rows])
        for start, stop in _runs(rows):
            self._put("embedding", rows[start], vectors[start:stop])
            self._put("crc", rows[start], crc[start:stop])
        os.fdatasync(self._file)
        self._mark(rows, DONE)

    def write_unreadable(self, rows: np.ndarray) -> None:
        """Marks rows, integer [m], whose image cannot be read; they get no vector."""
        if not len(rows):
            return
        crc = unreadable_checksums(self._digests[rows])
        for start, stop in _runs(rows):
            self._put("crc", rows[start], crc[start:stop])
        os.fdatasync(self._file)
        self._mark(rows, UNREADABLE)

    def copy_from(self, source: Embeddings) -> int:
        """Takes over rows that are pending here and finished and intact in another store, by the digest of their image.

        Returns:
            How many rows.

        Raises:
            StoreError: when the other store has another fingerprint.
        """
        if lines := provenance.differences(source.fingerprint, self._fingerprint):
            raise StoreError(f"{source.path} does not fit {self._path}: {_in_a_line(lines)}")
        known = {digest.tobytes(): row for row, digest in enumerate(source.digests)}
        pairs = [(row, known[key]) for row in self.pending() if (key := self._digests[row].tobytes()) in known]
        copied = 0
        for start in range(0, len(pairs), BLOCK):
            to, origin = np.array(pairs[start : start + BLOCK]).T
            intact = source.intact(origin)
            done, unreadable = (intact & (source.status[origin] == status) for status in (DONE, UNREADABLE))
            self.write(to[done], source.read(origin[done]))
            self.write_unreadable(to[unreadable])
            copied += int(intact.sum())
        return copied

    def reopen(self, rows: np.ndarray) -> None:
        """Makes rows, integer [m], pending again, whatever they hold."""
        self._mark(rows, PENDING)
        os.fdatasync(self._file)

    def close(self) -> None:
        """Has everything on the disk, and closes the file."""
        os.fdatasync(self._file)
        os.close(self._file)

    def _mark(self, rows: np.ndarray, status: int) -> None:
        self._status[rows] = status
        for start, stop in _runs(rows):
            self._put("status", rows[start], self._status[rows[start:stop]])

    def _put(self, name: str, row: int, values: np.ndarray) -> None:
        """Writes consecutive rows of a dataset in place."""
        content = memoryview(values.tobytes())
        offset = self._offsets[name] + int(row) * (len(content) // len(values))
        while content:  # a write may be cut short, by a signal or a full disk
            written = os.pwrite(self._file, content, offset)
            content, offset = content[written:], offset + written


@contextmanager
def open_for_writing(
    path: Path, fingerprint: dict, digests: np.ndarray, *, parameters: int, rebuild: bool = False
) -> Iterator[EmbeddingWriter]:
    """Opens a store for a catalogue's images, making it or carrying it over first where needed.

    A store of the same fingerprint and other images is replaced by one for these images: vectors of images that are in
    both are copied, by digest; the rest is pending.

    Args:
        path: the file.
        fingerprint: what will make the vectors; "dim" among its fields.
        digests: uint8 [n, 16], the catalogue's images in their order.
        parameters: how many parameters the backbone has; for people, no part of the fingerprint.
        rebuild: whether a store that is there is replaced by an empty one, whatever it is.

    Raises:
        StoreError: when another process holds the store, it is damaged, or it has another fingerprint.
    """
    with hold(path):
        if rebuild or not path.exists():
            _create(path, fingerprint, digests, parameters=parameters)
        else:
            store = Embeddings(path)
            if lines := provenance.differences(store.fingerprint, fingerprint):
                raise StoreError(
                    f"{path} was made otherwise ({_in_a_line(lines)}): "
                    f"embed with --rebuild to replace it, or give the new backbone another alias"
                )
            if not np.array_equal(store.digests, digests):
                _create(path, fingerprint, digests, parameters=parameters, old=store)
        with _opened(path) as writer:
            yield writer


@contextmanager
def open_for_repair(path: Path) -> Iterator[EmbeddingWriter]:
    """Opens a store as it is, to make rows pending again.

    Raises:
        StoreError: when another process holds the store, or it is missing or damaged as a whole.
    """
    with hold(path), _opened(path) as writer:
        yield writer


@contextmanager
def _opened(path: Path) -> Iterator[EmbeddingWriter]:
    writer = EmbeddingWriter(path)
    try:
        yield writer
    finally:
        writer.close()


def _create(
    path: Path, fingerprint: dict, digests: np.ndarray, *, parameters: int, old: Embeddings | None = None
) -> None:
    """Lays a store out in full, its space reserved on the disk, with the vectors that an older one has."""
    with write_aside(path) as aside:
        with h5py.File(aside, "w", userblock_size=USER_BLOCK) as file:
            reserve(aside, len(digests) * (2 * fingerprint["dim"] + BYTES_BESIDE) + HDF5_SLACK)
            file.attrs["fingerprint"] = json.dumps(fingerprint, sort_keys=True)
            file.attrs["parameters"] = parameters
            _allocate(file, "embedding", (len(digests), fingerprint["dim"]))
            _allocate(file, "status", (len(digests),))
            _allocate(file, "digest", digests.shape)
            _allocate(file, "crc", (len(digests),))
            file["digest"][:] = digests
            file.flush()
            size = file.id.get_filesize()
        os.truncate(aside, size)
        seal(aside)
        if old is not None:
            with _opened(aside) as writer:
                writer.copy_from(old)


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    """A contiguous dataset that gets its bytes of the file at once; h5py alone would give them at the first write."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a new file reads as zeros, and fallocate keeps them
    layout.set_obj_track_times(False)
    file_type = h5py.h5t.py_create(np.dtype(TYPES[name]), logical=True)
    h5py.h5d.create(file.id, name.encode(), file_type, h5py.h5s.create_simple(shape), layout)


def _in_a_line(differences: list[str]) -> str:
    """Fields that differ, in one line, whatever someone else's fingerprint says."""
    return "; ".join(" ".join(difference.split())[:300] for difference in differences[:20])


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Positions (start, stop) of the runs of consecutive rows."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    return ((start, stop) for start, stop in pairwise(edges) if stop > start)
