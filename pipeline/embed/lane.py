"""One backbone's way through a run: pixels gathered to batches, vectors to its store."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.embeddings.writer import EmbeddingWriter
from pipeline.images import Crop

if TYPE_CHECKING:
    from pipeline.embed.engines.engine import Engine


@dataclass
class PixelBatch:
    """Rows on their way through an engine.

    Attributes:
        engine: what runs them.
        store: where they go.
        rows: of the pixels.
        pixels: uint8 [size, size, 3] each.
        lost: gets the rows whose vectors are not finite, and which stay pending.
        unreadable: rows that were met among them and have no pixels.
    """

    engine: "Engine"
    store: EmbeddingWriter
    lost: list[int]
    rows: list[int] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)

    def run(self) -> np.ndarray | None:
        """The vectors, float32 [m, d]; None where there are no pixels."""
        return self.engine(np.stack(self.pixels)) if self.pixels else None

    def write(self, vectors: np.ndarray | None) -> None:
        """Stores the vectors that are finite, and notes what was unreadable."""
        if vectors is not None:
            rows = np.array(self.rows)
            with np.errstate(over="ignore"):
                finite = np.isfinite(vectors.astype(np.float16)).all(1)
            self.lost += rows[~finite].tolist()
            self.store.write(rows[finite], vectors[finite])
        self.store.write_unreadable(np.array(self.unreadable, np.int64))


class Lane:
    """A backbone ready to run, and its store.

    Attributes:
        crop: what it takes of an image.
        engine: what runs it.
        lost: rows for which the engine gave no finite vector.
    """

    def __init__(self, crop: Crop, engine: "Engine", store: EmbeddingWriter):
        self.crop, self.engine, self._store = crop, engine, store
        self.lost: list[int] = []
        self._batch = PixelBatch(engine, store, self.lost)
        self._pending = set(store.pending().tolist())

    def pending(self) -> np.ndarray:
        """Rows that its store has nothing for, int64, ascending."""
        return self._store.pending()

    def take(self, row: int, pixels: np.ndarray | None) -> PixelBatch | None:
        """Adds an image to the batch if the store waits for it.

        Args:
            row: the image's.
            pixels: uint8 [size, size, 3]; None where it is unreadable.

        Returns:
            The batch, once it is full.
        """
        if row not in self._pending:
            return None
        if pixels is None:
            self._batch.unreadable.append(row)
        else:
            self._batch.rows.append(row)
            self._batch.pixels.append(pixels)
        return self.rest() if len(self._batch.rows) == self.engine.batch_size else None

    def rest(self) -> PixelBatch:
        """What was taken and is in no batch yet."""
        batch, self._batch = self._batch, PixelBatch(self.engine, self._store, self.lost)
        return batch
