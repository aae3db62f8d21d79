"""Affine maps from one backbone's vectors to another's, in closed form, so that trained heads go on working.

A pair is one image's vectors in both spaces, x [d_new] and y [d_old]; a map says y = x M + c. All that fitting needs is
sums over pairs (`moments.py`).

Every map is fitted on centred vectors, so c = mean(y) - mean(x) M. Errors are measured in units of each old
dimension's standard deviation, as a head that standardises sees them.

| kind | M | chosen on held-out pairs |
|---|---|---|
| ridge | (Sxx + a I)^-1 Sxy (A. Hoerl and R. Kennard, 1970); a is in units of the new vectors' mean variance | a |
| restored_ridge | ridge, then most of the spread that shrinkage took from each old component given back | a |
| light_restored_ridge | the same at a quarter of the strength: closer to known images, less to new ones | a |
| reduced_rank | ridge, on the r best predicted directions (A. Mukherjee and J. Zhu, 2011) | a, r |
| procrustes | s U V^T from Sxy = U D V^T: a rotation and a scale (P. Schoenemann, 1966; dims may differ) | nothing |
| scaling | diagonal: each dimension on its namesake alone; for the same backbone, trained on | nothing |

Sxx and Sxy are mean products of centred vectors (`Covariance`).

The new vectors are not standardised: a dimension that hardly varies carries little but noise, and scaled up to the
rest it costs accuracy (measured: with 1,024 pairs of real photos, 0.3 to 1.3 points of retention).

The best prediction of a vector varies less than the vector, the more so the less is known of a component. A head was
trained on vectors of full spread and reads the smaller ones as less of everything. `restored_ridge` therefore
stretches its predictions along each principal component of the old vectors towards the component's standard
deviation: worse as a prediction, better for heads (on real photos 0.5 to 1.5 points of retention on validation users).
Where users share items, what heads are shown has mostly been fitted on, and lighter shrinkage keeps more of that.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from pipeline.core.errors import StageError
from pipeline.swap.moments import Moments, PairSums

STRENGTHS = (1e-8, 1e-6, 1e-4, *(2.0**power for power in range(-8, 8)))
LIGHT = 0.25  # of the strength that predicts held-out pairs best
RESTORED = 0.75  # exponent of what shrinkage took: 0 is ridge, 1 the full spread; the best of four on validation users
MOST_STRETCH = 4.0  # of a component that is hardly predicted at all


def ridge(moments: Moments, strength: float) -> np.ndarray:
    """M of ridge regression, `strength` in units of the new vectors' mean variance: float64 [d_new, d_old].

    Raises:
        StageError: when the strength is 0 and there are too few pairs for that.

    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> pairs = Moments.of(x, 3 * x + 1)
    >>> ridge(pairs, 0.0), ridge(pairs, 1.0)
    (array([[3.]]), array([[1.5]]))
    """
    if strength == 0:
        _require_pairs(moments, "least squares")
    spectrum = moments.spectrum
    return spectrum.vectors @ (spectrum.cross * spectrum.shrinkage(strength)[:, None])


def restored_ridge(moments: Moments, strength: float) -> np.ndarray:
    """Ridge's M, its predictions stretched along the old vectors' principal components: float64 [d_new, d_old].

    A component's stretch is (its standard deviation / its prediction's) ** RESTORED, from 1 to MOST_STRETCH.

    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> restored_ridge(Moments.of(x, 3 * x + 1), 1.0).round(3)  # 1.5 * 2 ** 0.75
    array([[2.523]])
    """
    standardised = ridge(moments, strength) / moments.spread
    variance, components = moments.components
    along = standardised @ components
    predicted = (along * (moments.centred.xx @ along)).sum(0)
    # Where nothing is predicted, or a component does not vary, rounding alone would set the ratio.
    known = np.minimum(variance, predicted) > variance.max() * 1e-9
    ratio = np.divide(variance, predicted, out=np.ones_like(variance), where=known)
    stretch = np.clip(ratio ** (RESTORED / 2), 1.0, MOST_STRETCH)
    return (along * stretch) @ (components.T * moments.spread)


def reduced_rank(moments: Moments, strength: float, rank: int) -> np.ndarray:
    """Ridge's M, with its predictions kept to their `rank` strongest directions: float64 [d_new, d_old].

    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> matrix = reduced_rank(Moments.of(x, x), 0.1, rank=1)
    >>> int(np.linalg.matrix_rank(matrix, tol=1e-9))
    1
    """
    directions = _directions(moments, strength)[:, :rank]
    standardised = ridge(moments, strength) / moments.spread
    return (standardised @ directions) @ (directions.T * moments.spread)


def procrustes(moments: Moments) -> np.ndarray:
    """A scale times the semi-orthogonal M that comes closest: float64 [d_new, d_old].

    Raises:
        StageError: when there are too few pairs to tell a rotation.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> turned = np.array([[0.0, 2.0], [-2.0, 0.0], [0.0, 0.0]])  # a quarter turn, at twice the size
    >>> procrustes(Moments.of(x, turned)).round(6) + 0.0
    array([[ 0.,  2.],
           [-2.,  0.]])
    """
    _require_pairs(moments, "procrustes")
    covariance = moments.centred
    left, _, right = scipy.linalg.svd(covariance.xy, full_matrices=False, check_finite=False)
    rotation = left @ right
    rotated = np.vdot(rotation, covariance.xx @ rotation)  # the variance of all rotated vectors
    return rotation * (np.vdot(rotation, covariance.xy) / rotated if rotated > 0 else 0.0)


def scaling(moments: Moments) -> np.ndarray:
    """A diagonal M, each dimension by least squares: float64 [d, d].

    Raises:
        StageError: when the two backbones' dims differ.

    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> scaling(Moments.of(x, x * [3.0, 5.0])).round(6)
    array([[3., 0.],
           [0., 5.]])
    """
    covariance = moments.centred
    new_dim, old_dim = covariance.xy.shape
    if new_dim != old_dim:
        raise StageError(f"scaling needs vectors of equal dim, not {new_dim} and {old_dim}")
    variance = np.diag(covariance.xx)
    return np.diag(np.divide(np.diag(covariance.xy), variance, out=np.zeros_like(variance), where=variance > 0))


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "ridge": ridge,
    "restored_ridge": restored_ridge,
    "light_restored_ridge": restored_ridge,
    "reduced_rank": reduced_rank,
    "procrustes": procrustes,
    "scaling": scaling,
}


@dataclass(frozen=True)
class AffineMap:
    """y = x M + c.

    Attributes:
        matrix: M, float64 [d_new, d_old].
        offset: c, float64 [d_old].
    """

    matrix: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, moments: Moments) -> "AffineMap":
        """The map with a matrix that takes the mean of some pairs' new vectors to that of their old ones."""
        mean_x, mean_y = moments.means
        return cls(matrix, mean_y - mean_x @ matrix)

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """New vectors, float [m, d_new], as old ones: float64 [m, d_old].

        >>> AffineMap(np.array([[2.0]]), np.array([1.0])).apply(np.array([[3.0]]))
        array([[7.]])
        """
        return vectors.astype(np.float64) @ self.matrix + self.offset


@dataclass(frozen=True)
class Fit:
    """A kind of map, fitted.

    Attributes:
        kind: one of KINDS.
        options: what was chosen on the held-out pairs: strength, rank.
        trial: the map of the pairs that are not held out.
        final: the map of all pairs.
    """

    kind: str
    options: dict[str, float]
    trial: AffineMap
    final: AffineMap


def fit(kind: str, sums: PairSums, strength: float | None = None) -> Fit:
    """Fits one kind of map: its options by how it does on what is held out; then all pairs' map with them.

    Args:
        kind: one of KINDS.
        sums: over the pairs.
        strength: what `best_strength` says of the sums, where it is known already; all kinds of ridge share it.

    Raises:
        StageError: when there are too few pairs for this kind, or the dims do not suit it.

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> sums = PairSums.of(Moments.of(x[:3], 2 * x[:3]), Moments.of(x[3:], 2 * x[3:]))
    >>> fit("scaling", sums).final
    AffineMap(matrix=array([[2.]]), offset=array([0.]))
    """
    options: dict[str, float] = {}
    if KINDS[kind] in (ridge, restored_ridge, reduced_rank):
        strength = best_strength(sums) if strength is None else strength
        options["strength"] = strength * (LIGHT if kind == "light_restored_ridge" else 1)
    if kind == "reduced_rank":
        options["rank"] = best_rank(sums, options["strength"])
    trial, final = (KINDS[kind](moments, **options) for moments in (sums.fitting, sums.whole))
    return Fit(kind, options, AffineMap.of(trial, sums.fitting), AffineMap.of(final, sums.whole))


def fit_kinds(kinds: Iterable[str], sums: PairSums) -> tuple[dict[str, Fit], dict[str, str]]:
    """Fits some of KINDS; answers with those that were fitted, and why the rest was not, both by kind.

    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [0.0, 3.0]])
    >>> sums = PairSums.of(Moments.of(x[:3], x[:3, :1]), Moments.of(x[3:], x[3:, :1]))
    >>> fits, refused = fit_kinds(["ridge", "scaling"], sums)
    >>> list(fits), refused
    (['ridge'], {'scaling': 'scaling needs vectors of equal dim, not 2 and 1'})
    """
    strength = best_strength(sums)
    fits, refused = {}, {}
    for kind in kinds:
        try:
            fits[kind] = fit(kind, sums, strength)
        except StageError as error:
            refused[kind] = str(error)
    return fits, refused


def best_strength(sums: PairSums, strengths: tuple[float, ...] = STRENGTHS) -> float:
    """The strength of ridge with the least error on held-out pairs; each further one costs next to nothing.

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> best_strength(PairSums.of(Moments.of(x[:3], x[:3]), Moments.of(x[3:], x[3:])))  # without noise
    1e-08
    """
    fitting, spectrum = sums.fitting, sums.fitting.spectrum
    held_out = sums.held_out.about(*fitting.means)
    cross = spectrum.cross / fitting.spread**2
    # The error is a constant - 2 f.linear + f.square.f, where f is the shrinkage of each direction.
    linear = ((spectrum.vectors.T @ held_out.xy) * cross).sum(1)
    square = (spectrum.vectors.T @ held_out.xx @ spectrum.vectors) * (cross @ spectrum.cross.T)
    factors = [spectrum.shrinkage(strength) for strength in strengths]
    return strengths[int(np.argmin([f @ square @ f - 2 * f @ linear for f in factors]))]


def best_rank(sums: PairSums, strength: float) -> int:
    """The rank of reduced_rank with the least error on held-out pairs, from one decomposition.

    >>> x = np.random.default_rng(0).normal(size=(30, 3))
    >>> sums = PairSums.of(Moments.of(x[:20], x[:20]), Moments.of(x[20:], x[20:]))
    >>> best_rank(sums, 0.1)
    3
    """
    fitting = sums.fitting
    held_out, directions = sums.held_out.about(*fitting.means), _directions(fitting, strength)
    predicted = (ridge(fitting, strength) / fitting.spread) @ directions
    # Directions are orthonormal: each one changes the error by itself.
    gains = 2 * (predicted * ((held_out.xy / fitting.spread) @ directions)).sum(0)
    gains -= (predicted * (held_out.xx @ predicted)).sum(0)
    return int(np.argmax(np.cumsum(gains))) + 1


def _directions(moments: Moments, strength: float) -> np.ndarray:
    """Orthonormal directions of standardised old vectors, the best predicted first: float64 [d_old, d_old]."""
    spectrum = moments.spectrum
    cross = spectrum.cross / moments.spread
    weighted = cross * np.sqrt(spectrum.shrinkage(strength))[:, None]
    return scipy.linalg.eigh(weighted.T @ weighted, driver="evd", check_finite=False)[1][:, ::-1]


def _require_pairs(moments: Moments, name: str) -> None:
    """Means take one pair; what is left must span the space with fewer dimensions, or M is not determined."""
    least = min(moments.xy.shape) + 1
    if moments.pairs < least:
        raise StageError(
            f"{name} needs at least {least} pairs for this many dimensions, not {moments.pairs}: use ridge"
        )
