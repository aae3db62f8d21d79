"""A store as it is read, and the checksums that make sure of every row."""

import json
import math
import mmap
import operator
import os
import weakref
import zlib
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from pipeline.core import provenance
from pipeline.core.errors import StoreError
from pipeline.embeddings.held import HeldRows

PENDING, DONE, UNREADABLE = 0, 1, 2
UNREADABLE_MARK = b"unreadable"  # stands for the vector in such a row's checksum, so that a flipped status shows too
TYPES = {"embedding": np.float16, "status": np.uint8, "digest": np.uint8, "crc": np.uint32}
BLOCK = 4096  # rows copied or checked at a time
CACHED = 256  # rows whose vectors stay in a processor's cache from one look at them to the next
USER_BLOCK = 512  # the file's first bytes, which HDF5 leaves alone; the seal is there
SEAL = b"visagg embedding store; rows from, to, and the checksum of all else:"
MOST_STRUCTURE = 1 << 20  # bytes that are no rows'; a store has some thousand


class Embeddings:
    """A store opened for reading.

    Attributes:
        path: the file.
        fingerprint: what made the vectors: the weights' digest, the preprocessing, the pooling point, the type.
        parameters: how many parameters the backbone has.
        status: uint8 [n], as of opening.
        digests: of the image that each row belongs to, uint8 [n, 16].
        dim: d, numbers a vector.
        offsets: where each dataset's first byte is in the file, by name.
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
            with path.open("rb") as file:
                _require_seal(file)
                self._open(file)
        except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
            reason = " ".join((str(error) or type(error).__name__).split())[:200]
            raise StoreError(f"{path} is damaged or no embedding store ({reason}): embed with --rebuild") from None

    def _open(self, content: BinaryIO) -> None:
        with h5py.File(content, "r") as file:
            self.fingerprint: dict = json.loads(file.attrs["fingerprint"])
            self.parameters = operator.index(file.attrs["parameters"])
            shapes, self.offsets = _layout(file, os.fstat(content.fileno()).st_size)
        rows, self.dim = shapes["embedding"]
        expected = {
            "embedding": (rows, self.dim),
            "status": (rows,),
            "digest": (rows, provenance.DIGEST_BYTES),
            "crc": (rows,),
        }
        if shapes != expected or self.dim < 1 or self.fingerprint["dim"] != self.dim or self.parameters < 0:
            raise ValueError("its parts do not fit each other")

        self._descriptor = os.dup(content.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        whole = mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ)

        def mapped(name: str) -> np.ndarray:
            offset = self.offsets[name] if rows else 0  # nothing lies nowhere
            flat = np.frombuffer(whole, TYPES[name], math.prod(shapes[name]), offset)
            return flat.reshape(shapes[name])

        self._vectors, self._held = mapped("embedding"), HeldRows(rows, self.dim)
        self.status, self.digests, self._crc = (np.array(mapped(name)) for name in ("status", "digest", "crc"))

    def __len__(self) -> int:
        return len(self.status)

    def images_digest(self) -> str:
        """The digest of the catalogue's images that the rows belong to, in their order."""
        return provenance.digest_images(self.digests)

    def require_images(self, images_digest: str) -> None:
        """Makes sure that the rows belong to the images that sets were made of.

        Raises:
            StoreError: when they belong to others.
        """
        if self.images_digest() != images_digest:
            raise StoreError(f"{self.path} holds other images than the sets: run visagg embed {self.path.stem} again")

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Vectors of finished rows, each checked against its checksum.

        Args:
            rows: integer [m].

        Returns:
            float16 [m, d].

        Raises:
            StoreError: when a row is not done, or damaged, or its vector is not finite.
        """
        rows = np.asarray(rows, np.int64)
        self._require(rows, self.status[rows] <= UNREADABLE)
        if (self.status[rows] != DONE).any():
            raise StoreError(f"{self.path} is unfinished: run visagg embed {self.path.stem}, or dvc repro")
        vectors = self.gather(rows)
        self._require(rows, self._right(rows, vectors))
        return vectors

    def hold(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keeps vectors that `read` gave in memory, for `gather`, as far as a constant allows; each row named once."""
        self._held.add(rows, vectors)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """As `read`, of rows that were read before: integer [m] to float16 [m, d], not checked once more."""
        vectors = np.empty((len(rows), self.dim), TYPES["embedding"])
        content, width = memoryview(vectors.reshape(-1).view(np.uint8).data), vectors.strides[0]
        away = self._held.fill(vectors, rows)
        edges = [0, *(np.flatnonzero((np.diff(away) != 1) | (np.diff(rows[away]) != 1)) + 1).tolist(), len(away)]
        # Read, not mapped: the system maps much around each row, which takes longer and counts as memory.
        for first, stop in pairwise(edges if len(away) else []):  # neighbours at once
            place, offset = int(away[first]) * width, self.offsets["embedding"] + int(rows[away[first]]) * width
            self._fill(content[place : place + (stop - first) * width], offset)
        return vectors

    def _fill(self, content: memoryview, offset: int) -> None:
        """Fills memory with what is in the file from a byte on."""
        while len(content):
            try:
                count = os.preadv(self._descriptor, [content], offset)
            except OSError as error:
                raise StoreError(f"{self.path} cannot be read: {error.strerror or error}") from None
            if not count:
                raise StoreError(f"{self.path} has become shorter since it was opened")
            content, offset = content[count:], offset + count

    def peek(self, row: int) -> np.ndarray:
        """A row's vector as it stands in the file, float16 [d], not checked: for those who look for damage."""
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
        """Which of some rows, integer [m], are right, as done or as unreadable: bool [m].

        Their checksum agrees, and a vector is finite: a right checksum says only that it is what was written. A pending
        row has no checksum, so it is not right.
        """
        digests, status, vectors = self.digests[rows], self.status[rows], self._vectors[rows]
        done = (status == DONE) & self._right(rows, vectors)
        return done | (status == UNREADABLE) & (unreadable_checksums(digests) == self._crc[rows])

    def fault(self, row: int) -> str:
        """What is wrong with a row that is neither pending nor right, in words."""
        if self.status[row] == DONE and self._agree(np.array([row]), self._vectors[[row]]).all():
            return "its vector is not finite"
        return "its checksum does not agree" if self.status[row] <= UNREADABLE else "its status makes no sense"

    def damaged(self) -> np.ndarray:
        """Rows that are neither pending nor right, int64, ascending; reads the whole store, a block at a time."""
        rows = np.flatnonzero(self.status != PENDING)
        blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        return np.concatenate([rows[:0], *(block[~self.intact(block)] for block in blocks)])

    def _agree(self, rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Whether vectors, float16 [m, d], are what rows, integer [m], were given: bool [m]."""
        return checksums(vectors, self.digests[rows]) == self._crc[rows]

    def _right(self, rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Whether vectors, float16 [m, d], are finite and what rows, integer [m], were given: bool [m]."""
        right = np.zeros(len(rows), bool)
        for start in range(0, len(rows), CACHED):
            some = slice(start, start + CACHED)
            right[some] = self._agree(rows[some], vectors[some]) & finite(vectors[some])
        return right

    def _require(self, rows: np.ndarray, intact: np.ndarray) -> None:
        if not intact.all():
            damaged = rows[~intact]
            raise StoreError(
                f"{self.path}: {len(damaged)} rows are damaged, the first is {damaged[0]}: run visagg cache verify "
                f"{self.path.stem} --repair, then visagg embed {self.path.stem}"
            )


def seal(path: Path) -> None:
    """Writes the checksum of a new store's structure: of the bytes that are no rows', and never change.

    HDF5 trusts them: some that are damaged let it loop for ever, and others would say another fingerprint.
    """
    with h5py.File(path, "r", locking=False) as file:
        shapes, offsets = _layout(file, path.stat().st_size)
    ends = [offsets[name] + _size(name, shapes[name]) for name in TYPES]
    with path.open("r+b") as content:
        line = _seal(content, min(offsets.values()), max(ends))
        content.seek(0)
        content.write(line)


def _seal(content: BinaryIO, start: int, stop: int) -> bytes:
    """The seal of a store whose rows lie from `start` to `stop`."""
    size = content.seek(0, os.SEEK_END)
    if not USER_BLOCK <= start <= stop <= size or start + size - stop > MOST_STRUCTURE:
        raise ValueError("it has no room for what it claims")
    content.seek(USER_BLOCK)
    crc = zlib.crc32(content.read(start - USER_BLOCK))
    content.seek(stop)
    return b"%b %d %d %08x\n" % (SEAL, start, stop, zlib.crc32(content.read(), crc))


def _require_seal(content: BinaryIO) -> None:
    """Makes sure that a store's structure is as it was made."""
    line = content.read(USER_BLOCK).rstrip(b"\0")
    if not line.startswith(SEAL):
        raise ValueError("it does not begin as a store does")
    start, stop, _ = line.removeprefix(SEAL).split()
    if _seal(content, int(start), int(stop)) != line:
        raise ValueError("its structure's checksum does not agree")


def _size(name: str, shape: tuple[int, ...]) -> int:
    """Bytes of a dataset."""
    return math.prod(shape) * np.dtype(TYPES[name]).itemsize


def _layout(file: h5py.File, size: int) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """The datasets' shapes, and where each begins in a file of `size` bytes.

    Raises:
        ValueError: when one is anywhere but in one piece in this file, apart from the others, or of another type.
    """
    shapes, offsets, pieces = {}, {}, []
    for name, dtype in TYPES.items():
        if not isinstance(file.get(name, getlink=True), h5py.HardLink) or file.get(name, getclass=True) != h5py.Dataset:
            raise ValueError(f"{name} is no dataset of its own")
        dataset = file[name]
        made = dataset.id.get_create_plist()
        if made.get_layout() != h5py.h5d.CONTIGUOUS or made.get_external_count() or dataset.dtype != dtype:
            raise ValueError(f"{name} does not lie in one piece, or is of another type")
        shapes[name] = dataset.shape
        offsets[name] = dataset.id.get_offset() if dataset.id.get_storage_size() else size  # nothing lies nowhere
        pieces.append((offsets[name], offsets[name] + _size(name, dataset.shape)))
    edges = [edge for piece in sorted(pieces) for edge in piece]
    if edges != sorted(edges) or edges[-1] > size:
        raise ValueError("its rows are not where they could be")
    return shapes, offsets


def finite(vectors: np.ndarray) -> np.ndarray:
    """Which rows of vectors, float16 [m, d], are finite: bool [m].

    >>> finite(np.array([[1.0, -2.0], [np.nan, 0.0], [0.0, -np.inf]], np.float16)).tolist()
    [True, False, False]
    """
    # Read as integers, what is not finite is beyond all else of its sign: two maxima cost far less than isfinite.
    bits = np.ascontiguousarray(vectors).view(np.int16)
    if bits.max(initial=0) < 0x7C00 and bits.view(np.uint16).max(initial=0) < 0xFC00:
        return np.ones(len(vectors), bool)
    return np.isfinite(vectors).all(1)


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


def unreadable_checksums(digests: np.ndarray) -> np.ndarray:
    """CRC-32 of each unreadable row's image digest, then UNREADABLE_MARK: uint8 [m, 16] to uint32 [m]."""
    return np.fromiter((zlib.crc32(digest.tobytes() + UNREADABLE_MARK) for digest in digests), np.uint32, len(digests))
