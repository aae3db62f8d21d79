"""The catalogue's distinct images, encoded, in one HDF5 file."""

import copy
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from pipeline.core import handover, provenance
from pipeline.core.errors import StageError
from pipeline.core.files import reserve, write_aside

INGEST = "run visagg ingest"  # what makes it anew, for messages
WRITE_BUFFER = 4 << 20  # bytes of images held before they go to the file
HDF5_SLACK = 1 << 20  # room for HDF5's own records beside the data
FEWEST_SLOTS = 1 << 10  # a power of two


class DigestRows:
    """Rows by digest, numbered as they come, in some 30 bytes a row. Any thread may ask while one adds.

    >>> rows = DigestRows()
    >>> rows.add(bytes(16)), rows.add(bytes(15) + b"x"), rows.row(bytes(15) + b"x"), rows.row(b"y" * 16)
    (0, 1, 1, None)
    """

    def __init__(self) -> None:
        self.digests = bytearray()  # one behind the other
        self._slots = _empty_slots(FEWEST_SLOTS)  # each a row or -1; at most half are taken

    def __len__(self) -> int:
        return len(self.digests) // provenance.DIGEST_BYTES

    def row(self, digest: bytes) -> int | None:
        """The row of a digest that was added; else None."""
        slots, width = self._slots, provenance.DIGEST_BYTES
        slot = int.from_bytes(digest[:8], "little") & len(slots) - 1
        while (row := slots[slot]) >= 0:
            if self.digests[width * row : width * (row + 1)] == digest:
                return row
            slot = slot + 1 & len(slots) - 1
        return None

    def add(self, digest: bytes) -> int:
        """Adds a digest that is not here yet and returns its row."""
        row = len(self)
        if 2 * row >= len(self._slots):
            slots = _empty_slots(2 * len(self._slots))
            for old in range(row):
                self._take(slots, old)
            self._slots = slots
        self.digests += digest
        self._take(self._slots, row)
        return row

    def _take(self, slots: array, row: int) -> None:
        first = provenance.DIGEST_BYTES * row
        slot = int.from_bytes(self.digests[first : first + 8], "little") & len(slots) - 1
        while slots[slot] >= 0:
            slot = slot + 1 & len(slots) - 1
        slots[slot] = row


def _empty_slots(count: int) -> array:
    return array("i", [-1]) * count


class ImageWriter:
    """Appends distinct images to images.h5, holding a few megabytes of them at a time."""

    def __init__(self, file: h5py.File, path: Path):
        self._path = path
        reserve(path, HDF5_SLACK)
        # Chunks of the buffer's size: the total is not known before the last image.
        self._bytes = file.create_dataset("bytes", (0,), np.uint8, maxshape=(None,), chunks=(WRITE_BUFFER,))
        self._file = file
        self._buffer = bytearray()
        self._offsets = array("q", [0])
        self._rows = DigestRows()

    def row(self, digest: bytes) -> int | None:
        """The row of an image that is already here, by its digest; else None."""
        return self._rows.row(digest)

    def append(self, data: bytes, digest: bytes) -> int:
        """Adds an image that is not here yet and returns its row."""
        row = self._rows.add(digest)
        self._buffer += data
        self._offsets.append(self._offsets[-1] + len(data))
        if len(self._buffer) >= WRITE_BUFFER:
            self._flush()
        return row

    def close(self) -> None:
        """Writes what is buffered, then the offsets and digests."""
        self._flush()
        reserve(self._path, self._file.id.get_filesize() + 24 * len(self._offsets) + HDF5_SLACK)
        self._file.create_dataset("offset", data=np.frombuffer(self._offsets, np.int64))
        digests = np.frombuffer(self._rows.digests, np.uint8).reshape(-1, provenance.DIGEST_BYTES)
        self._file.create_dataset("digest", data=digests)
        self._file.flush()

    def _flush(self) -> None:
        start = self._bytes.shape[0]
        chunks = -(-len(self._buffer) // WRITE_BUFFER) + 1
        reserve(self._path, self._file.id.get_filesize() + chunks * WRITE_BUFFER + HDF5_SLACK)
        self._bytes.resize((start + len(self._buffer),))
        self._bytes[start:] = np.frombuffer(self._buffer, np.uint8)
        self._file.flush()  # so that the file's size, which the next reservation starts from, is known
        self._buffer = bytearray()


@contextmanager
def write_images(path: Path) -> Iterator[ImageWriter]:
    """Yields a writer for a new images.h5, which appears at `path` when the block ends well."""
    with write_aside(path) as aside:
        with h5py.File(aside, "w") as file:
            writer = ImageWriter(file, aside)
            yield writer
            writer.close()
            size = file.id.get_filesize()
        os.truncate(aside, size)  # what was reserved and not needed


class Images:
    """The encoded images of a catalogue, read by row. Safe to read from several threads.

    Attributes:
        digests: BLAKE2b of each image's bytes, uint8 [n, 16].
    """

    def __init__(self, path: Path):
        """Opens images.h5.

        Raises:
            StageError: when the file is missing or is something else.
        """
        if not path.is_file():
            raise StageError(f"{path} is missing: {INGEST}, or dvc repro")
        self._path = path
        try:
            self._file = h5py.File(path, "r", rdcc_nbytes=8 * WRITE_BUFFER)
            self._bytes, offset, digest = (self._file[name] for name in ("bytes", "offset", "digest"))
            if digest.shape != (len(offset) - 1, provenance.DIGEST_BYTES) or digest.dtype != np.uint8:
                raise ValueError("its images make no sense")
            offsets = offset[:]
            self._starts, self._stops = offsets[:-1], offsets[1:]
            self.digests = digest[:]
            if offsets[0] != 0 or offsets[-1] != len(self._bytes) or (self._starts > self._stops).any():
                raise ValueError("its images make no sense")
        except (OSError, KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise StageError(f"{path} is damaged or no image file ({reason}): delete it and {INGEST}") from None

    def __len__(self) -> int:
        return len(self.digests)

    def digest(self) -> str:
        """The digest of all images in their order."""
        return provenance.digest_images(self.digests)

    def part(self, rows: np.ndarray) -> "Images":
        """Some of the images, integer [m], as a catalogue of their own."""
        part = copy.copy(self)
        part.digests, part._starts, part._stops = self.digests[rows], self._starts[rows], self._stops[rows]
        return part

    def read(self, row: int) -> bytes:
        """The encoded image in a row; raises as `read_many`."""
        return self.read_many(np.array([row]))[0]

    def read_many(self, rows: np.ndarray) -> list[bytes]:
        """The encoded images in some rows, integer [m]; neighbours in the file are read at once.

        Raises:
            StageError: when one is damaged: it is not what its digest, which its vector goes by, was made of.
        """
        breaks = np.flatnonzero(self._stops[rows[:-1]] != self._starts[rows[1:]]) + 1
        encoded = []
        for run in np.split(rows, breaks):
            first = self._starts[run[0]]
            try:
                block = memoryview(self._bytes[first : self._stops[run[-1]]])
            except OSError as error:
                handover.damaged(self._path, str(error), again=INGEST)
            encoded += [bytes(block[self._starts[row] - first : self._stops[row] - first]) for row in run]
        for row, image in zip(rows, encoded, strict=True):
            if provenance.digest(image) != self.digests[row].tobytes():
                handover.damaged(self._path, f"image {row}", again=f"delete it and {INGEST}")
        return encoded
