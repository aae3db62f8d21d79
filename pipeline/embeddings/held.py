"""Vectors of a store that stay in memory once they were read: as many as a constant allows."""

import numpy as np

MOST_BYTES = 384 << 20  # of one store


class HeldRows:
    """Some rows' vectors.

    Args:
        rows: n, how many the store has.
        dim: d, numbers a vector.

    >>> held = HeldRows(rows=3, dim=1)
    >>> held.add(np.array([2]), np.array([[0.5]], np.float16))
    >>> vectors = np.zeros((2, 1), np.float16)
    >>> held.fill(vectors, np.array([2, 1])), vectors.tolist()
    (array([1]), [[0.5], [0.0]])
    """

    def __init__(self, rows: int, dim: int):
        room = min(rows, MOST_BYTES // (dim * np.dtype(np.float16).itemsize))
        self._vectors = np.empty((room, dim), np.float16)  # what is not written yet takes no memory
        self._places = np.full(rows, -1, np.int32)
        self._count = 0

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Holds the vectors of some rows, each named once, integer [k] and float16 [k, d], as far as there is room."""
        new = np.flatnonzero(self._places[rows] < 0)[: len(self._vectors) - self._count]
        places = np.arange(self._count, self._count + len(new))
        self._vectors[places] = vectors[new]
        self._places[rows[new]] = places
        self._count += len(new)

    def fill(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Writes the vectors of rows, integer [k], to float16 [k, d]; returns which of them are not held: int [j]."""
        places = self._places[rows]
        missing = np.flatnonzero(places < 0)
        if not len(missing):
            np.take(self._vectors, places, axis=0, out=vectors, mode="clip")  # another mode makes a copy first
        elif len(missing) < len(rows):
            held = np.flatnonzero(places >= 0)
            vectors[held] = self._vectors[places[held]]
        return missing
