"""Popularity: what a head must beat. Every set gets the labels' frequencies among the training sets as its scores."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from pipeline.catalogue.labelled_sets import label_matrix
from pipeline.metrics.selection import best_threshold


@dataclass(frozen=True)
class Popularity:
    """The floor under every head.

    Attributes:
        frequency: share of the training sets that have each label, float64 [c].
        threshold: of the score, with the highest micro-F1 on validation, as a head's is.
    """

    frequency: np.ndarray
    threshold: float

    @classmethod
    def of(cls, sets: pl.DataFrame, classes: int) -> Self:
        """Of a frame of the columns of sets.parquet, and c = `classes` labels.

        >>> sets = pl.DataFrame({"split": ["train", "train", "validation"], "labels": [[0], [0, 1], [0]]})
        >>> Popularity.of(sets, classes=2)
        Popularity(frequency=array([1. , 0.5]), threshold=1.0)
        """
        train, validation = (
            label_matrix(sets.filter(pl.col("split") == split), classes) for split in ("train", "validation")
        )
        frequency = train.mean(0)
        return cls(frequency, best_threshold(np.tile(frequency, (len(validation), 1)), validation))

    def scores(self, sets: int) -> np.ndarray:
        """The same scores for every one of n = `sets` sets: float64 [n, c].

        >>> Popularity(np.array([0.7, 0.2]), threshold=0.5).scores(sets=2)
        array([[0.7, 0.2],
               [0.7, 0.2]])
        """
        return np.tile(self.frequency, (sets, 1))
