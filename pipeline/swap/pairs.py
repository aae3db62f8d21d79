"""Images that have vectors in two stores: which ones fit a map, and how close the map comes on others."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline import adapters
from pipeline.adapters import Fit, Moments
from pipeline.embeddings import DONE, Embeddings
from pipeline.errors import StageError
from pipeline.progress import Progress

BLOCK = 4096  # pairs read at a time
SIZES = (64, 256, 1024)  # how many images a person may think of embedding first
HELD_OUT = 10  # one pair in so many chooses strengths and ranks
LEAST_PAIRS = 2 * HELD_OUT
MOST_COMPARED = 2000  # images whose vectors are compared one by one


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

    def moments(self, rows: np.ndarray, progress: Progress) -> Moments:
        """Sums over some pairs, each read once."""
        total = Moments(self.new.width, self.old.width)
        for start in range(0, len(rows), BLOCK):
            block = np.sort(rows[start : start + BLOCK])
            total.add(self.new.read(block), self.old.read(block))
            progress.add(len(block))
        return total


def shown(sets: pl.DataFrame, split: str) -> np.ndarray:
    """Rows of the images that a split's sets show: int64, ascending."""
    images = sets.filter(pl.col("split") == split)["images"].explode()
    return images.unique().sort().to_numpy().astype(np.int64)


@dataclass(frozen=True)
class Fitted:
    """Maps from one lot of pairs.

    Attributes:
        held: rows of the pairs that chose.
        whole: sums over all pairs.
        fits: by kind.
        refused: why the other kinds were not fitted.
    """

    held: np.ndarray
    whole: Moments
    fits: dict[str, Fit]
    refused: dict[str, str]


def fit(stores: Stores, rows: np.ndarray, kinds: list[str], name: str, known: Moments | None = None) -> Fitted:
    """Fits some kinds of map in one pass over the pairs.

    Args:
        stores: both.
        rows: the pairs, int64 [m].
        kinds: of adapters.KINDS.
        name: for the progress.
        known: sums over more pairs, which say how the old vectors spread; None: over these.

    Raises:
        StageError: when none of the kinds can be fitted.
    """
    chooses = np.arange(len(rows)) % HELD_OUT == HELD_OUT - 1
    with Progress(name, len(rows), "pairs") as progress:
        part, held = (stores.moments(rows[which], progress) for which in (~chooses, chooses))
    whole = part + held
    for moments in (part, whole):
        moments.take_old_space(known or whole)
    strength = adapters.best_strength(part, held)
    fits, refused = {}, {}
    for kind in kinds:
        try:
            fits[kind] = adapters.fit(kind, part, held, whole, strength)
        except StageError as error:
            refused[kind] = str(error)
    if not fits:
        raise StageError("; ".join(refused.values()))
    return Fitted(rows[chooses], whole, fits, refused)


def closeness(
    stores: Stores, rows: np.ndarray, affine: tuple[np.ndarray, np.ndarray], reference: Moments
) -> dict[str, np.ndarray]:
    """How close mapped vectors come to the old backbone's own, in units that a standardising head sees.

    Args:
        stores: both.
        rows: images that the map was not fitted on, int64 [m].
        affine: M and c.
        reference: sums over all training pairs, which give the old vectors' means and standard deviations.

    Returns:
        float64 [m] each: the cosine; the squared error; the squared distance from the mean.
    """
    (_, mean), (matrix, offset) = reference.means, affine
    truth = (stores.old.read(rows) - mean) / reference.spread
    mapped = (stores.new.read(rows).astype(np.float64) @ matrix + offset - mean) / reference.spread
    lengths = np.linalg.norm(truth, axis=1) * np.linalg.norm(mapped, axis=1)
    cosine = np.divide((truth * mapped).sum(1), lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return {"cosine": cosine, "error": ((truth - mapped) ** 2).sum(1), "total": (truth**2).sum(1)}
