"""The catalogue: items, purchases, images and rejects, and the sets made of them: the files of data/ that stages share.

| file | content |
|---|---|
| catalogue/items.parquet | item_id (unique, sorted); image (row in images.h5, or null); categories; title |
| catalogue/purchases.parquet | user_id, item_id, time, source_split; by user, then time |
| catalogue/images.h5 | distinct images, encoded: bytes [total], offset [n + 1], digest [n, 16] |
| catalogue/rejects.parquet | stage, item_id, reason: everything the source held that cannot be used |
| sets.parquet | set_id; images (rows in images.h5); labels (indices into labels.json); split |
| labels.json | label names in index order, and the digest of the images that the sets' rows point into |
"""

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import polars as pl

from pipeline.core import provenance
from pipeline.core.errors import StageError
from pipeline.core.files import reserve, write_aside, write_json

SPLITS = pl.Enum(["train", "validation", "test"])
ITEMS = pl.Schema(
    {
        "item_id": pl.String(),
        "image": pl.UInt32(),
        "categories": pl.List(pl.List(pl.String())),
        "title": pl.String(),
    }
)
PURCHASES = pl.Schema({"user_id": pl.String(), "item_id": pl.String(), "time": pl.Int64(), "source_split": SPLITS})
REJECTS = pl.Schema({"stage": pl.String(), "item_id": pl.String(), "reason": pl.String()})
SETS = pl.Schema(
    {"set_id": pl.String(), "images": pl.List(pl.UInt32()), "labels": pl.List(pl.UInt16()), "split": SPLITS}
)
TABLES = {"items": ITEMS, "purchases": PURCHASES, "rejects": REJECTS, "sets": SETS}

NO_IMAGE = "no image"  # the reject's reason where an item never had one; any other is of an image that is unusable

WRITE_BUFFER = 4 << 20  # bytes of images held before they go to the file
HDF5_SLACK = 1 << 20  # room for HDF5's own records beside the data


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Writes one of TABLES, named by the file's stem, with exactly its columns and types."""
    with write_aside(path) as aside:
        frame.select(*TABLES[path.stem]).cast(TABLES[path.stem]).write_parquet(aside, compression="zstd")


def read_table(path: Path) -> pl.DataFrame:
    """Reads one of TABLES.

    Raises:
        StageError: when the file is missing or holds other columns.
    """
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise StageError(f"{path} is missing: run the stage before this one, or dvc repro") from None
    except pl.exceptions.PolarsError as error:
        raise StageError(f"{path} cannot be read ({str(error).splitlines()[0]}): delete it and run dvc repro") from None
    if frame.schema != TABLES[path.stem]:
        raise StageError(f"{path} holds other columns than {', '.join(TABLES[path.stem])}: delete it, run dvc repro")
    return frame


def write_labels(path: Path, labels: list[str], images_digest: str) -> None:
    """Writes the label names, in index order, and the digest of the images that the sets point into."""
    write_json(path, {"labels": labels, "images_digest": images_digest})


def read_labels(path: Path) -> tuple[list[str], str]:
    """Reads what `write_labels` wrote.

    Raises:
        StageError: when the file is missing or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["labels"], content["images_digest"]
    except FileNotFoundError:
        raise StageError(f"{path} is missing: run visagg sets, or dvc repro") from None
    except (ValueError, KeyError, TypeError):
        raise StageError(f"{path} is not a label file: delete it and run dvc repro") from None


def label_matrix(sets: pl.DataFrame, classes: int) -> np.ndarray:
    """Which of c = `classes` labels each set has, of a frame of the columns of sets.parquet: bool [n, c].

    >>> label_matrix(pl.DataFrame({"labels": [[0, 2], [1]]}), classes=3).astype(int).tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    matrix = np.zeros((len(sets), classes), bool)
    for row, labels in enumerate(sets["labels"].to_list()):
        matrix[row, labels] = True
    return matrix


class ImageWriter:
    """Appends distinct images to images.h5, holding a few megabytes of them at a time."""

    def __init__(self, file: h5py.File, path: Path):
        self._path = path
        reserve(path, HDF5_SLACK)
        # Chunks of the buffer's size: the total is not known before the last image.
        self._bytes = file.create_dataset("bytes", (0,), np.uint8, maxshape=(None,), chunks=(WRITE_BUFFER,))
        self._file = file
        self._buffer = bytearray()
        self._offsets = [0]
        self._rows: dict[bytes, int] = {}

    def row(self, digest: bytes) -> int | None:
        """The row of an image that is already here, by its digest; else None."""
        return self._rows.get(digest)

    def append(self, data: bytes, digest: bytes) -> int:
        """Adds an image that is not here yet and returns its row."""
        row = self._rows[digest] = len(self._rows)
        self._buffer += data
        self._offsets.append(self._offsets[-1] + len(data))
        if len(self._buffer) >= WRITE_BUFFER:
            self._flush()
        return row

    def close(self) -> None:
        """Writes what is buffered, then the offsets and digests."""
        self._flush()
        reserve(self._path, self._file.id.get_filesize() + 24 * len(self._offsets) + HDF5_SLACK)
        self._file.create_dataset("offset", data=np.array(self._offsets, np.int64))
        self._file.create_dataset("digest", data=self._digests())
        self._file.flush()

    def _digests(self) -> np.ndarray:
        return np.frombuffer(b"".join(self._rows), np.uint8).reshape(-1, provenance.DIGEST_BYTES)

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
            raise StageError(f"{path} is missing: run visagg ingest, or dvc repro")
        try:
            self._file = h5py.File(path, "r", rdcc_nbytes=8 * WRITE_BUFFER)
            self._bytes = self._file["bytes"]
            offsets = self._file["offset"][:]
            self._starts, self._stops = offsets[:-1], offsets[1:]
            self.digests = self._file["digest"][:]
        except (OSError, KeyError):
            raise StageError(f"{path} is not an image file of this program: delete it and run visagg ingest") from None

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
        """The encoded image in a row."""
        return self._bytes[self._starts[row] : self._stops[row]].tobytes()

    def read_many(self, rows: np.ndarray) -> list[bytes]:
        """The encoded images in some rows, integer [m]; neighbours in the file are read at once."""
        breaks = np.flatnonzero(self._stops[rows[:-1]] != self._starts[rows[1:]]) + 1
        encoded = []
        for run in np.split(rows, breaks):
            first = self._starts[run[0]]
            block = memoryview(self._bytes[first : self._stops[run[-1]]])
            encoded += [bytes(block[self._starts[row] - first : self._stops[row] - first]) for row in run]
        return encoded
