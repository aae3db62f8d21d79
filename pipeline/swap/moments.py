"""Sums over pairs of vectors: all that fitting a map needs to know of them.

A pair is one image's vectors in both spaces, x [d_new] and y [d_old]. One pass over two stores gives the sums, in any
order and any blocks.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import scipy.linalg

SMALLEST_STD = 1e-6  # an old dimension that varies less is counted as it is, as in heads


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over pairs, in float64. Those of two disjoint lots of pairs can be added.

    Attributes:
        pairs: how many pairs there are, n.
        x: sum of the new vectors, float64 [d_new].
        y: sum of the old vectors, float64 [d_old].
        xx: sum of their products, float64 [d_new, d_new].
        xy: float64 [d_new, d_old].
        yy: float64 [d_old, d_old].
        reference: sums over more pairs, whose old vectors say how old vectors spread; None: these pairs do.

    >>> first = Moments.of(np.array([[0.0], [1.0]]), np.array([[5.0], [6.0]]))
    >>> second = Moments.of(np.array([[2.0]]), np.array([[7.0]]))
    >>> (first + second).means
    (array([1.]), array([6.]))
    """

    pairs: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    reference: "Moments | None" = None

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Self:
        """Sums over some pairs: any float [m, d_new] and [m, d_old], row by row of the same image."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, y.T @ y)

    def __add__(self, more: "Moments") -> "Moments":
        names = ("pairs", "x", "y", "xx", "xy", "yy")
        return Moments(*(getattr(self, name) + getattr(more, name) for name in names))

    @cached_property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the new and of the old vectors: float64 [d_new] and [d_old]."""
        return self.x / self.pairs, self.y / self.pairs

    @cached_property
    def centred(self) -> "Covariance":
        """Mean products of differences from the means."""
        return self.about(*self.means)

    @cached_property
    def spread(self) -> np.ndarray:
        """Standard deviation of each old dimension, 1 where it does not vary: float64 [d_old]."""
        if self.reference is not None:
            return self.reference.spread
        std = np.sqrt(np.maximum(np.diag(self.centred.yy), 0))
        return np.where(std > SMALLEST_STD, std, 1.0)

    @cached_property
    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """Principal components of the standardised old vectors: variances float64 [d_old], directions [d_old, d_old].

        The directions are columns.
        """
        if self.reference is not None:
            return self.reference.components
        standardised = self.centred.yy / np.outer(self.spread, self.spread)
        return scipy.linalg.eigh(standardised, driver="evd", check_finite=False)

    @cached_property
    def spectrum(self) -> "Spectrum":
        """The new vectors' covariance, decomposed once for all strengths of ridge."""
        values, vectors = scipy.linalg.eigh(self.centred.xx, driver="evd", check_finite=False)
        return Spectrum(np.maximum(values, 0), vectors, vectors.T @ self.centred.xy)

    def about(self, x: np.ndarray, y: np.ndarray) -> "Covariance":
        """Mean products of differences from two points: float64 [d_new] and [d_old].

        The points may be the means of other pairs: so are held-out pairs measured.

        >>> pairs = Moments.of(np.array([[1.0], [3.0]]), np.array([[4.0], [8.0]]))
        >>> pairs.about(np.array([0.0]), np.array([6.0])).xy  # (1 * -2 + 3 * 2) / 2
        array([[2.]])
        """
        mean_x, mean_y = self.means
        return Covariance(
            self.xx / self.pairs - np.outer(mean_x - x, x) - np.outer(x, mean_x),
            self.xy / self.pairs - np.outer(mean_x - x, y) - np.outer(x, mean_y),
            self.yy / self.pairs - np.outer(mean_y - y, y) - np.outer(y, mean_y),
        )


@dataclass(frozen=True)
class PairSums:
    """Sums over pairs, of which some are held out to choose strengths and ranks.

    Attributes:
        fitting: over most of the pairs.
        held_out: over the rest.
        whole: over both.
    """

    fitting: Moments
    held_out: Moments
    whole: Moments

    @classmethod
    def of(cls, fitting: Moments, held_out: Moments, reference: Moments | None = None) -> Self:
        """Adds the two up; `reference`: sums over more pairs, which say how old vectors spread. None: these do.

        >>> fitting = Moments.of(np.array([[0.0], [2.0]]), np.array([[0.0], [1.0]]))
        >>> held_out = Moments.of(np.array([[4.0]]), np.array([[2.0]]))
        >>> PairSums.of(fitting, held_out).whole.pairs
        3
        """
        whole = replace(fitting + held_out, reference=reference)
        return cls(replace(fitting, reference=reference or whole), held_out, whole)


@dataclass(frozen=True)
class Covariance:
    """Mean products of differences from a point in each space.

    Attributes:
        xx: float64 [d_new, d_new].
        xy: float64 [d_new, d_old].
        yy: float64 [d_old, d_old].
    """

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


@dataclass(frozen=True)
class Spectrum:
    """The eigendecomposition of the new vectors' covariance: xx = V diag(values) V^T.

    Attributes:
        values: the eigenvalues, float64 [d_new], none below 0.
        vectors: V, float64 [d_new, d_new].
        cross: V^T xy, float64 [d_new, d_old].
    """

    values: np.ndarray
    vectors: np.ndarray
    cross: np.ndarray

    def shrinkage(self, strength: float) -> np.ndarray:
        """What ridge multiplies each direction by: float64 [d_new]; 0 where nothing varies and nothing is added.

        It is 1 / (eigenvalue + a), with a = strength times the mean eigenvalue.

        >>> Spectrum(np.array([0.0, 2.0]), np.eye(2), np.eye(2)).shrinkage(strength=2.0)
        array([0.5 , 0.25])
        """
        total = self.values + strength * self.values.mean()
        return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
