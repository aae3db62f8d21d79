"""The embedding store: one vector an image, in image order, in one HDF5 file laid out in full when it is made.

| dataset | type | content |
|---|---|---|
| embedding | float16 [n, d] | the vectors |
| status | uint8 [n] | 0 pending, 1 done, 2 unreadable |
| digest | uint8 [n, 16] | digest of the image that the row belongs to |
| crc | uint32 [n] | CRC-32 of the row's digest, then its vector or UNREADABLE_MARK: damage and swapped rows show |

Attribute `identity` (JSON) says what made the vectors. Every dataset is contiguous and allocated at creation, so a
batch is written in place, at offsets that HDF5 gave once: vectors and checksums, then a sync, then their status. A row
that says done is therefore done whenever the process or the machine dies, nothing in the file's own structure ever
changes, and an interrupted run ends in the same bytes as an uninterrupted one. The checksum is a row's own rather
than a block's, so that rows can be finished in any order without touching what protects their neighbours.
"""

import errno
import fcntl
import json
import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from pipeline import provenance
from pipeline.errors import StoreError
from pipeline.files import reserve, write_aside

PENDING, DONE, UNREADABLE = 0, 1, 2
UNREADABLE_MARK = b"unreadable"  # stands for the vector in such a row's checksum, so that a flipped status shows too
DATASETS = ("embedding", "status", "digest", "crc")
BLOCK = 4096  # rows copied or checked at a time
BYTES_BESIDE = 1 + 16 + 4  # a row's status, digest and crc
HDF5_SLACK = 1 << 16  # room for HDF5's own records


class Embeddings:
    """A store opened for reading.

    Attributes:
        path: the file.
        identity: what made the vectors: the weights' digest, the preprocessing, the pooling point, the type.
        parameters: how many parameters the backbone has.
        status: uint8 [n], as of opening.
        digests: uint8 [n, 16].
        width: d, numbers a vector.
    """

    def __init__(self, path: Path):
        """Opens a store.

        Raises:
            StoreError: when it is missing, damaged, or something else.
        """
        self.path = path
        if not path.is_file():
            raise StoreError(f"{path} is missing: run visagg embed {path.stem}, or dvc repro")
        try:
            with h5py.File(path, "r", locking=False) as file:
                self.identity: dict = json.loads(file.attrs["identity"])
                self.parameters = int(file.attrs["parameters"])
                self.status, self.digests, self._crc = (file[name][:] for name in ("status", "digest", "crc"))
                embedding = file["embedding"]
                self.offsets = {name: file[name].id.get_offset() for name in DATASETS}
                self._vectors = np.memmap(path, np.float16, "r", self.offsets["embedding"], embedding.shape)
                if len({len(file[name]) for name in DATASETS}) > 1 or self.status.max(initial=0) > UNREADABLE:
                    raise ValueError("its rows make no sense")
        except (OSError, KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise StoreError(f"{path} is damaged or no embedding store ({reason}): embed with --rebuild") from None
        self.width = self._vectors.shape[1]

    def __len__(self) -> int:
        return len(self.status)

    def images_digest(self) -> str:
        """The digest of the catalogue's images that the rows belong to, in their order."""
        return provenance.digest_images(self.digests)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Vectors of finished rows, each checked against its checksum.

        Args:
            rows: integer [m].

        Returns:
            float16 [m, d].

        Raises:
            StoreError: when a row is not done, or damaged.
        """
        rows = np.asarray(rows, np.int64)
        if (self.status[rows] != DONE).any():
            raise StoreError(f"{self.path} is unfinished: run visagg embed {self.path.stem}, or dvc repro")
        vectors = self._vectors[rows]
        self._require(rows, checksums(vectors, self.digests[rows]) == self._crc[rows])
        return vectors

    def peek(self, row: int) -> np.ndarray:
        """A row's vector as it stands, float16 [d], unchecked: for those who look for damage."""
        return self._vectors[row]

    def unreadable(self) -> np.ndarray:
        """Rows of images that could not be read, int64, ascending.

        Raises:
            StoreError: when such a row is damaged: its image may well have a vector.
        """
        rows = np.flatnonzero(self.status == UNREADABLE)
        self._require(rows, self.intact(rows))
        return rows

    def intact(self, rows: np.ndarray) -> np.ndarray:
        """Which of some rows agree with their checksum, as done or as unreadable: bool [m]. Pending ones do not."""
        digests, status = self.digests[rows], self.status[rows]
        done = (status == DONE) & (checksums(self._vectors[rows], digests) == self._crc[rows])
        return done | (status == UNREADABLE) & (marks(digests) == self._crc[rows])

    def damaged(self) -> np.ndarray:
        """Rows that are neither pending nor intact, int64, ascending; reads the whole store, a block at a time."""
        rows = np.flatnonzero(self.status != PENDING)
        blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        return np.concatenate([rows[:0], *(block[~self.intact(block)] for block in blocks)])

    def _require(self, rows: np.ndarray, good: np.ndarray) -> None:
        if not good.all():
            bad = rows[~good]
            raise StoreError(
                f"{self.path}: {len(bad)} rows are damaged, the first is {bad[0]}: run visagg cache verify "
                f"{self.path.stem} --repair, then visagg embed {self.path.stem}"
            )


class EmbeddingWriter:
    """A store opened for writing, by one process at a time. Made by `open_for_writing`."""

    def __init__(self, path: Path):
        store = Embeddings(path)
        self._digests, self._offsets, self._width = store.digests, store.offsets, store.width
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
            StoreError: when a vector does not fit the store's width or is not finite in float16.
        """
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(vectors, np.float16)
        if vectors.shape != (len(rows), self._width) or not np.isfinite(vectors).all():
            raise StoreError(f"vectors {vectors.shape} do not fit a store of width {self._width}, or are not finite")
        crc = checksums(vectors, self._digests[rows])
        for start, stop in _runs(rows):
            self._put("embedding", rows[start], vectors[start:stop])
            self._put("crc", rows[start], crc[start:stop])
        os.fdatasync(self._file)
        self._mark(rows, DONE)

    def write_unreadable(self, rows: np.ndarray) -> None:
        """Marks rows whose image cannot be read; they get no vector."""
        crc = marks(self._digests[rows])
        for start, stop in _runs(rows):
            self._put("crc", rows[start], crc[start:stop])
        os.fdatasync(self._file)
        self._mark(rows, UNREADABLE)

    def reopen(self, rows: np.ndarray) -> None:
        """Makes rows pending again, whatever they hold."""
        self._mark(rows, PENDING)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.fdatasync(self._file)
        os.close(self._file)

    def _mark(self, rows: np.ndarray, status: int) -> None:
        self._status[rows] = status
        for start, stop in _runs(rows):
            self._put("status", rows[start], self._status[rows[start:stop]])

    def _put(self, name: str, row: int, values: np.ndarray) -> None:
        """Writes consecutive rows of a dataset in place."""
        content = memoryview(values.tobytes())
        place = self._offsets[name] + int(row) * (len(content) // len(values))
        while content:  # a write may be cut short, by a signal or a full disk
            written = os.pwrite(self._file, content, place)
            content, place = content[written:], place + written


@contextmanager
def open_for_writing(
    path: Path, identity: dict, parameters: int, digests: np.ndarray, rebuild: bool = False
) -> Iterator[EmbeddingWriter]:
    """Opens a store for a catalogue's images, making it or carrying it over first where needed.

    A store of the same identity and other images is replaced by one for these images: vectors of images that are in
    both are copied, by digest; the rest is pending.

    Args:
        path: the file.
        identity: what will make the vectors; "width" among its fields.
        parameters: how many parameters the backbone has; for people, no part of the identity.
        digests: uint8 [n, 16], the catalogue's images in their order.
        rebuild: whether a store that is there is replaced by an empty one, whatever it is.

    Raises:
        StoreError: when another process holds the store, it is damaged, or it has another identity.
    """
    with _lock(path):
        if rebuild or not path.exists():
            _create(path, identity, parameters, digests, None)
        else:
            store = Embeddings(path)
            if lines := provenance.differences(store.identity, identity):
                raise StoreError(
                    f"{path} was made otherwise ({'; '.join(lines)}): "
                    f"embed with --rebuild to replace it, or give the new backbone another alias"
                )
            if not np.array_equal(store.digests, digests):
                _create(path, identity, parameters, digests, store)
        with _opened(path) as writer:
            yield writer


@contextmanager
def open_for_repair(path: Path) -> Iterator[EmbeddingWriter]:
    """Opens a store as it is, to make rows pending again.

    Raises:
        StoreError: when another process holds the store, or it is missing or damaged as a whole.
    """
    with _lock(path), _opened(path) as writer:
        yield writer


@contextmanager
def _opened(path: Path) -> Iterator[EmbeddingWriter]:
    writer = EmbeddingWriter(path)
    try:
        yield writer
    finally:
        writer.close()


def checksums(vectors: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """CRC-32 of each row's image digest, then its vector.

    Args:
        vectors: float16 [m, d].
        digests: uint8 [m, 16].

    Returns:
        uint32 [m].
    """
    rows = np.hstack([digests, np.ascontiguousarray(vectors).view(np.uint8)])
    return np.fromiter((zlib.crc32(row) for row in rows), np.uint32, len(rows))


def marks(digests: np.ndarray) -> np.ndarray:
    """What stands for the checksum of unreadable rows: uint8 [m, 16] to uint32 [m]."""
    return np.fromiter((zlib.crc32(digest.tobytes() + UNREADABLE_MARK) for digest in digests), np.uint32, len(digests))


def _create(path: Path, identity: dict, parameters: int, digests: np.ndarray, old: Embeddings | None) -> None:
    """Lays a store out in full, its space reserved on the disk, with the vectors that an older one has."""
    with write_aside(path) as aside:
        with h5py.File(aside, "w") as file:
            reserve(aside, len(digests) * (2 * identity["width"] + BYTES_BESIDE) + HDF5_SLACK)
            file.attrs["identity"] = json.dumps(identity, sort_keys=True)
            file.attrs["parameters"] = parameters
            _allocate(file, "embedding", (len(digests), identity["width"]), np.float16)
            _allocate(file, "status", (len(digests),), np.uint8)
            _allocate(file, "digest", digests.shape, np.uint8)
            _allocate(file, "crc", (len(digests),), np.uint32)
            file["digest"][:] = digests
            file.flush()
            size = file.id.get_filesize()
        os.truncate(aside, size)
        if old is not None:
            _carry_over(old, aside)


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: type) -> None:
    """A contiguous dataset whose place in the file is fixed at once; h5py alone would fix it at the first write."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a new file reads as zeros, and fallocate keeps them
    layout.set_obj_track_times(False)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), layout)


def _carry_over(old: Embeddings, path: Path) -> None:
    """Copies intact rows of an older store into a new one, by the digest of their image."""
    known = {digest.tobytes(): row for row, digest in enumerate(old.digests)}
    with _opened(path) as writer:
        pairs = [(row, known[key]) for row, key in enumerate(map(bytes, writer._digests)) if key in known]
        for start in range(0, len(pairs), BLOCK):
            to, source = np.array(pairs[start : start + BLOCK]).T
            good = old.intact(source)
            done, unreadable = (good & (old.status[source] == status) for status in (DONE, UNREADABLE))
            writer.write(to[done], old.read(source[done]))
            writer.write_unreadable(to[unreadable])


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Positions (start, stop) of the runs of consecutive rows."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    return ((start, stop) for start, stop in zip(edges, edges[1:]) if stop > start)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds the store for this process; the system lets go of it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    except BlockingIOError as error:
        if error.errno != errno.EAGAIN:
            raise
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        raise StoreError(f"{path} is being written by {holder}: wait for it, or stop it") from None
    finally:
        os.close(handle)
