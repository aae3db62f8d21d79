"""Vectors of the images that some sets show: a table in memory where they are few, else gathered from their store when
asked for, which holds no more of them than a constant allows, so that memory does not grow with the catalogue.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.embeddings.store import Embeddings

MOST_HELD = 1 << 27  # bytes of vectors that are made a table
BLOCK = 1024  # images read at a time

Map = Callable[[Tensor], Tensor]


class Vectors(ABC):
    """Vectors of m images, float32 [m, d], by their position. Position m stands for padding, whose vector is zeros.

    Attributes:
        dim: d.
    """

    dim: int

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are, m."""

    @abstractmethod
    def take(self, positions: Tensor) -> Tensor:
        """Vectors of some images, int64 [k] to float32 [k, d]; zeros for padding."""

    @abstractmethod
    def table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """A table that has the vectors of some images, and where in it each one is: what fits best to how they lie.

        Args:
            rows: positions of images or padding, int64 [b, s].

        Returns:
            float32 [t, d], int64 [b, s].
        """

    @abstractmethod
    def mapped(self, function: Map) -> "Vectors":
        """What a function of each vector by itself makes of them: float32 [k, d] to float32 [k, d']; padding stays."""

    def blocks(self) -> Iterator[Tensor]:
        """All of them in their order, float32 [k, d] at a time."""
        return (self.take(positions) for positions in torch.arange(len(self)).split(BLOCK))


class HeldVectors(Vectors):
    """Vectors in memory.

    Args:
        table: float32 [m + 1, d]; zeros in the last row.

    >>> HeldVectors(torch.tensor([[1.0], [0.0]])).mapped(lambda x: x + 1).take(torch.tensor([1, 0])).tolist()
    [[0.0], [2.0]]
    """

    def __init__(self, table: Tensor):
        self._table, self.dim = table, table.shape[1]

    def __len__(self) -> int:
        return len(self._table) - 1

    def take(self, positions: Tensor) -> Tensor:
        """As Vectors has it."""
        return self._table[positions]

    def table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """As Vectors has it: all of them."""
        return self._table, rows

    def mapped(self, function: Map) -> "HeldVectors":
        """As Vectors has it, at once."""
        table = torch.zeros(len(self._table), function(self._table[:1]).shape[1])
        for images in torch.arange(len(self)).split(BLOCK):
            table[images] = function(self._table[images])
        return HeldVectors(table)


class StoredVectors(Vectors):
    """Vectors that their store is asked for.

    Args:
        store: where they are.
        images: their rows in it, int64 [m]: finished, and checked before.
        functions: what each vector goes through, one after the other.
    """

    def __init__(self, store: Embeddings, images: np.ndarray, *functions: Map):
        self._store, self._images, self._functions = store, images, functions
        self.dim = self._through(torch.zeros(1, store.dim)).shape[1]

    def __len__(self) -> int:
        return len(self._images)

    def take(self, positions: Tensor) -> Tensor:
        """As Vectors has it."""
        images = self._images[positions.clamp_max(len(self) - 1).numpy()]  # something for padding, until it is zeros
        vectors = self._through(torch.from_numpy(self._store.gather(images)).float())
        vectors[positions == len(self)] = 0
        return vectors

    def table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """As Vectors has it: those that are asked for, each once."""
        distinct, places = torch.unique(rows, return_inverse=True)
        return self.take(distinct), places

    def mapped(self, function: Map) -> "StoredVectors":
        """As Vectors has it, whenever they are asked for."""
        return StoredVectors(self._store, self._images, *self._functions, function)

    def _through(self, vectors: Tensor) -> Tensor:
        for function in self._functions:
            vectors = function(vectors)
        return vectors


def open_vectors(store: Embeddings, images: np.ndarray) -> Vectors:
    """Vectors of some rows of a store, int64 [m], each checked against its checksum.

    Raises:
        StoreError: as `Embeddings.read`.
    """
    held = (len(images) + 1) * store.dim * np.dtype(np.float32).itemsize <= MOST_HELD
    table = torch.zeros(len(images) + 1 if held else 0, store.dim)
    for start in range(0, len(images), BLOCK):
        rows = images[start : start + BLOCK]
        block = store.read(rows)
        if held:
            table[start : start + len(rows)] = torch.from_numpy(block)
        else:
            store.hold(rows, block)
    return HeldVectors(table) if held else StoredVectors(store, images)
