"""A store as it is read, and the checksums that make sure of every row."""

import json
import zlib
from pathlib import Path

import h5py
import numpy as np

from pipeline.core import provenance
from pipeline.core.errors import StoreError

PENDING, DONE, UNREADABLE = 0, 1, 2
UNREADABLE_MARK = b"unreadable"  # stands for the vector in such a row's checksum, so that a flipped status shows too
DATASETS = ("embedding", "status", "digest", "crc")
BLOCK = 4096  # rows copied or checked at a time


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
            with h5py.File(path, "r", locking=False) as file:
                self.fingerprint: dict = json.loads(file.attrs["fingerprint"])
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
        self.dim = self._vectors.shape[1]

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
            StoreError: when a row is not done, or damaged.
        """
        rows = np.asarray(rows, np.int64)
        if (self.status[rows] != DONE).any():
            raise StoreError(f"{self.path} is unfinished: run visagg embed {self.path.stem}, or dvc repro")
        vectors = self._vectors[rows]
        self._require(rows, checksums(vectors, self.digests[rows]) == self._crc[rows])
        return vectors

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
        """Which of some rows, integer [m], agree with their checksum, as done or as unreadable: bool [m].

        A pending row has no checksum, so it does not.
        """
        digests, status = self.digests[rows], self.status[rows]
        done = (status == DONE) & (checksums(self._vectors[rows], digests) == self._crc[rows])
        return done | (status == UNREADABLE) & (unreadable_checksums(digests) == self._crc[rows])

    def damaged(self) -> np.ndarray:
        """Rows that are neither pending nor intact, int64, ascending; reads the whole store, a block at a time."""
        rows = np.flatnonzero(self.status != PENDING)
        blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        return np.concatenate([rows[:0], *(block[~self.intact(block)] for block in blocks)])

    def _require(self, rows: np.ndarray, intact: np.ndarray) -> None:
        if not intact.all():
            damaged = rows[~intact]
            raise StoreError(
                f"{self.path}: {len(damaged)} rows are damaged, the first is {damaged[0]}: run visagg cache verify "
                f"{self.path.stem} --repair, then visagg embed {self.path.stem}"
            )


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
