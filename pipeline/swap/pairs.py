"""Images that have vectors in two stores: which ones fit a map, and how close the map comes on others."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.core.errors import StageError
from pipeline.core.progress import Progress
from pipeline.core.vectors import cosines
from pipeline.embeddings.store import DONE, Embeddings
from pipeline.swap import maps
from pipeline.swap.maps import Fit
from pipeline.swap.moments import Moments, PairSums

BLOCK = 4096  # pairs read at a time
SIZES = (64, 256, 1024)  # how many images a person may think of embedding first
HELD_OUT = 10  # one pair in so many chooses strengths and ranks
LEAST_PAIRS = 2 * HELD_OUT
MOST_COMPARED = 2000  # images whose vectors are compared one by one


@dataclass(frozen=True)
class Fitted:
    """Maps from one lot of pairs.

    Attributes:
        rows: the pairs' rows in both stores, int64 [m].
        sums: over them.
        fits: the maps, by kind.
        refused: why maps of the other kinds were not fitted.
    """

    rows: np.ndarray
    sums: PairSums
    fits: dict[str, Fit]
    refused: dict[str, str]

    @property
    def held_out(self) -> np.ndarray:
        """Rows of the pairs that chose strengths and ranks, int64 [m / HELD_OUT]."""
        return self.rows[is_held_out(len(self.rows))]


@dataclass(frozen=True)
class Stores:
    """The same images' vectors by two backbones."""

    old: Embeddings
    new: Embeddings

    def readable(self, sets: pl.DataFrame) -> pl.DataFrame:
        """Sets without the images that either backbone could not read, so that both are asked about the same."""
        lost = pl.Series(np.union1d(self.old.unreadable(), self.new.unreadable()), dtype=pl.UInt32)
        kept = pl.element().filter(~pl.element().is_in(lost.implode()))
        return sets.with_columns(pl.col("images").list.eval(kept)).filter(pl.col("images").list.len() > 0)

    def training_rows(self, sets: pl.DataFrame) -> np.ndarray:
        """Rows of training users' images that are done in both stores, by digest: int64 [m].

        Raises:
            StageError: when there are too few to fit and choose with.
        """
        rows = shown(sets, "train")
        rows = rows[(self.old.status[rows] == DONE) & (self.new.status[rows] == DONE)]
        if len(rows) < LEAST_PAIRS:
            raise StageError(
                f"{self.old.path.stem} and {self.new.path.stem} share {len(rows)} training images, and an adapter "
                f"takes {LEAST_PAIRS}: run visagg embed {self.new.path.stem}"
            )
        digests = self.old.digests[rows]
        return rows[np.lexsort(digests.T[::-1])]

    def fit(self, rows: np.ndarray, kinds: Iterable[str], *, name: str, reference: Moments | None = None) -> Fitted:
        """Fits some kinds of map in one pass over the pairs.

        Args:
            rows: the pairs, int64 [m].
            kinds: of maps.KINDS.
            name: for the progress.
            reference: sums over more pairs, which say how old vectors spread: they are known for all images, the new
                ones for some. None: these pairs do.
        """
        held_out = is_held_out(len(rows))
        with Progress(name, len(rows), "pairs") as progress:
            fitting, chooses = (self._moments(rows[which], progress) for which in (~held_out, held_out))
        sums = PairSums.of(fitting, chooses, reference)
        return Fitted(rows, sums, *maps.fit_kinds(kinds, sums))

    def _moments(self, rows: np.ndarray, progress: Progress) -> Moments:
        """Sums over some pairs, each read once, a block at a time."""
        total = Moments.of(np.zeros((0, self.new.dim)), np.zeros((0, self.old.dim)))
        for start in range(0, len(rows), BLOCK):
            block = np.sort(rows[start : start + BLOCK])
            total += Moments.of(self.new.read(block), self.old.read(block))
            progress.add(len(block))
        return total


def shown(sets: pl.DataFrame, split: str) -> np.ndarray:
    """Rows of the images that a split's sets show: int64, ascending.

    >>> shown(pl.DataFrame({"images": [[4, 2], [2], [7]], "split": ["train", "train", "test"]}), "train")
    array([2, 4])
    """
    images = sets.filter(pl.col("split") == split)["images"].explode()
    return images.unique().sort().to_numpy().astype(np.int64)


def is_held_out(pairs: int) -> np.ndarray:
    """Which of m = `pairs` pairs choose strengths and ranks: bool [m], every tenth.

    >>> np.flatnonzero(is_held_out(25))
    array([ 9, 19])
    """
    return np.arange(pairs) % HELD_OUT == HELD_OUT - 1


def closeness(old: np.ndarray, mapped: np.ndarray, reference: Moments) -> dict[str, np.ndarray]:
    """How close mapped vectors come to the old backbone's, in units that a standardising head sees.

    Args:
        old: the old backbone's vectors of images that the map was not fitted on, float [m, d_old].
        mapped: what the map makes of the new backbone's vectors of the same images, float [m, d_old].
        reference: sums over all training pairs, which give the old vectors' means and standard deviations.

    Returns:
        float64 [m] each: the cosine; the squared error; the squared distance from the mean (`total`).

    >>> reference = Moments.of(np.zeros((2, 1)), np.array([[0.0, 0.0], [2.0, 4.0]]))  # means 1, 2; deviations 1, 2
    >>> closeness(np.array([[3.0, 2.0]]), np.array([[2.0, 4.0]]), reference)
    {'cosine': array([0.70710678]), 'error': array([2.]), 'total': array([4.])}
    """
    mean = reference.means[1]
    old, mapped = ((vectors - mean) / reference.spread for vectors in (old, mapped))
    return {"cosine": cosines(old, mapped), "error": ((old - mapped) ** 2).sum(1), "total": (old**2).sum(1)}
