"""Adapters: affine maps from one backbone's vectors to another's, in closed form, so that trained heads go on working.

A pair is one image's vectors in both spaces, x [d_new] and y [d_old]; an adapter says y = x M + c. All that fitting
needs is sums over pairs (`Moments`), which one pass over two stores gives in any order and any blocks.

Every map is fitted on centred vectors, so c = mean(y) - mean(x) M. Errors are measured in units of each old
dimension's standard deviation, as a head that standardises sees them.

| kind | M | chosen on held-out pairs |
|---|---|---|
| ridge | (Sxx + a I)^-1 Sxy (A. Hoerl and R. Kennard, 1970); a is in units of the new vectors' mean variance | a |
| restored_ridge | ridge, then most of the spread that shrinkage took from each old component given back | a |
| light_restored_ridge | the same at a quarter of the strength: closer to known images, less to new ones | a |
| reduced_rank | ridge, on the r best predicted directions (A. Mukherjee and J. Zhu, 2011) | a, r |
| procrustes | s U V^T from Sxy = U D V^T: a rotation and a scale (P. Schoenemann, 1966; widths may differ) | nothing |
| scaling | diagonal: each dimension on its namesake alone; for the same backbone, trained on | nothing |

The new vectors are not standardised: a dimension that hardly varies carries little but noise, and scaled up to the
others it costs accuracy (measured: with 1,024 pairs of real photos, 0.3 to 1.3 points of retention).

The best prediction of a vector varies less than the vector, the more so the less is known of a component. A head was
trained on vectors of full spread and reads the smaller ones as less of everything. `restored_ridge` therefore
stretches its predictions along each principal component of the old vectors towards the component's own standard
deviation: worse as a prediction, better for heads (on real photos 0.5 to 1.5 points of retention on validation users).
Where users share items, what heads are shown has mostly been fitted on, and lighter shrinkage keeps more of that.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.linalg
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline import provenance
from pipeline.errors import StageError, StoreError
from pipeline.files import write_aside

STRENGTHS = (1e-8, 1e-6, 1e-4, *(2.0**power for power in range(-8, 8)))
LIGHT = 0.25  # of the strength that predicts held-out pairs best
RESTORED = 0.75  # exponent of what shrinkage took: 0 is ridge, 1 the full spread; the best of four on validation users
MOST_STRETCH = 4.0  # of a component that is hardly predicted at all
SMALLEST_STD = 1e-6  # an old dimension that varies less is counted as it is, as in heads


class Moments:
    """Sums over pairs in float64: counts, values, products. Those of two disjoint lots of pairs can be added.

    Attributes:
        pairs: n.
        x: float64 [d_new], and `y` float64 [d_old].
        xx: float64 [d_new, d_new], and `xy` float64 [d_new, d_old].
        yy: float64 [d_old, d_old].
    """

    def __init__(self, new_width: int, old_width: int):
        self.pairs = 0
        self.x, self.y = np.zeros(new_width), np.zeros(old_width)
        self.xx, self.yy = np.zeros((new_width, new_width)), np.zeros((old_width, old_width))
        self.xy = np.zeros((new_width, old_width))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Counts some pairs: any float [m, d_new] and [m, d_old], row by row of the same image."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        self.pairs += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += y.T @ y

    def __add__(self, other: "Moments") -> "Moments":
        total = Moments(len(self.x), len(self.y))
        for name in ("pairs", "x", "y", "xx", "xy", "yy"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total

    @cached_property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Of x and y."""
        return self.x / self.pairs, self.y / self.pairs

    @cached_property
    def centred(self) -> "Covariance":
        """About the pairs' own means."""
        return self.about(*self.means)

    @cached_property
    def spread(self) -> np.ndarray:
        """Standard deviation of each old dimension, 1 where it does not vary: float64 [d_old]."""
        std = np.sqrt(np.maximum(np.diag(self.centred.yy), 0))
        return np.where(std > SMALLEST_STD, std, 1.0)

    @cached_property
    def spectrum(self) -> "Spectrum":
        """The one decomposition behind all strengths."""
        values, vectors = scipy.linalg.eigh(self.centred.xx, driver="evd", check_finite=False)
        return Spectrum(np.maximum(values, 0), vectors, vectors.T @ self.centred.xy)

    @cached_property
    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances and directions of the standardised old vectors' principal components."""
        standardised = self.centred.yy / np.outer(self.spread, self.spread)
        return scipy.linalg.eigh(standardised, driver="evd", check_finite=False)

    def take_old_space(self, other: "Moments") -> None:
        """Takes another's word for how the old vectors spread: they are known for all images, the new ones for some."""
        self.spread, self.components = other.spread, other.components

    def about(self, x: np.ndarray, y: np.ndarray) -> "Covariance":
        """Mean products of differences from two points, which may be others' means: float64 [d_new] and [d_old]."""
        mean_x, mean_y = self.means
        products = (self.xx, mean_x, mean_x, x, x), (self.xy, mean_x, mean_y, x, y), (self.yy, mean_y, mean_y, y, y)
        return Covariance(*(self._about(*each) for each in products))

    def _about(
        self, products: np.ndarray, mean_a: np.ndarray, mean_b: np.ndarray, a: np.ndarray, b: np.ndarray
    ) -> np.ndarray:
        """Mean of (u - a)(v - b)^T, from the sum of u v^T and the means of u and v."""
        return products / self.pairs - np.outer(mean_a - a, b) - np.outer(a, mean_b)


@dataclass(frozen=True)
class Covariance:
    """Mean products: xx float64 [d_new, d_new], xy [d_new, d_old], yy [d_old, d_old]."""

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


@dataclass(frozen=True)
class Spectrum:
    """xx = vectors diag(values) vectors^T, and `cross` = vectors^T xy."""

    values: np.ndarray
    vectors: np.ndarray
    cross: np.ndarray

    def shrinkage(self, strength: float) -> np.ndarray:
        """What ridge divides by, inverted: float64 [d_new]; 0 where nothing varies and nothing is added."""
        total = self.values + strength * self.values.mean()
        return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)


def ridge(moments: Moments, strength: float) -> np.ndarray:
    """M of ridge regression: float64 [d_new, d_old].

    Args:
        moments: of the pairs.
        strength: in units of the new vectors' mean variance; 0: least squares.

    Raises:
        StageError: when it is 0 and there are too few pairs for that.
    """
    _require_pairs(moments, "least squares", strength == 0)
    spectrum = moments.spectrum
    return spectrum.vectors @ (spectrum.cross * spectrum.shrinkage(strength)[:, None])


def restored_ridge(moments: Moments, strength: float) -> np.ndarray:
    """Ridge's M, its predictions stretched along the old vectors' principal components: float64 [d_new, d_old]."""
    standardised = ridge(moments, strength) / moments.spread
    variance, components = moments.components
    along = standardised @ components
    predicted = (along * (moments.centred.xx @ along)).sum(0)
    # Where nothing is predicted, or a component does not vary, rounding alone would set the ratio.
    seen = np.minimum(variance, predicted) > variance.max() * 1e-9
    ratio = np.divide(variance, predicted, out=np.ones_like(variance), where=seen)
    stretch = np.clip(ratio ** (RESTORED / 2), 1.0, MOST_STRETCH)
    return (along * stretch) @ (components.T * moments.spread)


def reduced_rank(moments: Moments, strength: float, rank: int) -> np.ndarray:
    """Ridge's M, with its predictions kept to their `rank` strongest directions: float64 [d_new, d_old]."""
    directions = _directions(moments, strength)[:, :rank]
    standardised = ridge(moments, strength) / moments.spread
    return (standardised @ directions) @ (directions.T * moments.spread)


def procrustes(moments: Moments) -> np.ndarray:
    """A scale times the semi-orthogonal M that comes closest: float64 [d_new, d_old].

    Raises:
        StageError: when there are too few pairs to tell a rotation.
    """
    _require_pairs(moments, "procrustes")
    found = moments.centred
    left, _, right = scipy.linalg.svd(found.xy, full_matrices=False, check_finite=False)
    rotation = left @ right
    size = np.vdot(rotation, found.xx @ rotation)
    return rotation * (np.vdot(rotation, found.xy) / size if size > 0 else 0.0)


def scaling(moments: Moments) -> np.ndarray:
    """A diagonal M, each dimension by least squares: float64 [d, d].

    Raises:
        StageError: when the widths differ.
    """
    found = moments.centred
    if found.xy.shape[0] != found.xy.shape[1]:
        raise StageError(f"scaling needs equal widths, not {found.xy.shape[0]} and {found.xy.shape[1]}")
    variance = np.diag(found.xx)
    return np.diag(np.divide(np.diag(found.xy), variance, out=np.zeros_like(variance), where=variance > 0))


KINDS = {
    "ridge": ridge,
    "restored_ridge": restored_ridge,
    "light_restored_ridge": restored_ridge,
    "reduced_rank": reduced_rank,
    "procrustes": procrustes,
    "scaling": scaling,
}


@dataclass(frozen=True)
class Fit:
    """A kind of map, fitted.

    Attributes:
        kind: one of KINDS.
        options: what was chosen on the held-out pairs: strength, rank.
        explained: share of the held-out pairs' variance that the map explains when it is fitted without them.
        trial: that map's M and c.
        final: M float64 [d_new, d_old] and c [d_old] of all pairs.
    """

    kind: str
    options: dict[str, float]
    explained: float
    trial: tuple[np.ndarray, np.ndarray]
    final: tuple[np.ndarray, np.ndarray]


def fit(kind: str, part: Moments, held: Moments, whole: Moments, strength: float | None = None) -> Fit:
    """Fits one kind of map: its options on the part, by how it does on what is held out; then on the whole.

    Args:
        kind: one of KINDS.
        part: most pairs.
        held: the others, on which options are chosen.
        whole: both.
        strength: what best_strength says, where it is known already; other kinds of ridge share it.

    Raises:
        StageError: when there are too few pairs for this kind, or the widths do not suit it.
    """
    options: dict[str, float] = {}
    if KINDS[kind] in (ridge, restored_ridge, reduced_rank):
        strength = best_strength(part, held) if strength is None else strength
        options["strength"] = strength * (LIGHT if kind == "light_restored_ridge" else 1)
    if kind == "reduced_rank":
        options["rank"] = best_rank(part, held, options["strength"])
    trial, final = (KINDS[kind](moments, **options) for moments in (part, whole))
    return Fit(kind, options, explained(trial, part, held), _with_offset(trial, part), _with_offset(final, whole))


def best_strength(part: Moments, held: Moments, strengths: tuple[float, ...] = STRENGTHS) -> float:
    """The strength of ridge with the least error on held-out pairs; each further one costs next to nothing."""
    spectrum, there = part.spectrum, held.about(*part.means)
    cross = spectrum.cross / part.spread**2
    # The error is a constant - 2 f.linear + f.square.f, where f is the shrinkage of each direction.
    linear = ((spectrum.vectors.T @ there.xy) * cross).sum(1)
    square = (spectrum.vectors.T @ there.xx @ spectrum.vectors) * (cross @ spectrum.cross.T)
    factors = [spectrum.shrinkage(strength) for strength in strengths]
    return strengths[int(np.argmin([f @ square @ f - 2 * f @ linear for f in factors]))]


def best_rank(part: Moments, held: Moments, strength: float) -> int:
    """The rank of reduced_rank with the least error on held-out pairs, from one decomposition."""
    there, directions = held.about(*part.means), _directions(part, strength)
    shown = (ridge(part, strength) / part.spread) @ directions
    # Directions are orthonormal: each one changes the error by itself.
    gains = 2 * (shown * ((there.xy / part.spread) @ directions)).sum(0) - (shown * (there.xx @ shown)).sum(0)
    return int(np.argmax(np.cumsum(gains))) + 1


def explained(matrix: np.ndarray, part: Moments, held: Moments) -> float:
    """Share of held-out variance, in units of the part's standard deviations, that the part's M explains; at most 1."""
    there = held.about(*part.means)
    variance = np.diag(there.yy)
    error = variance - 2 * (matrix * there.xy).sum(0) + (matrix * (there.xx @ matrix)).sum(0)
    total = float((variance / part.spread**2).sum())
    return 1 - float((error / part.spread**2).sum()) / total if total > 0 else 0.0


def _directions(moments: Moments, strength: float) -> np.ndarray:
    """Orthonormal directions of standardised old vectors, the best predicted first: float64 [d_old, d_old]."""
    spectrum = moments.spectrum
    cross = spectrum.cross / moments.spread
    weighted = cross * np.sqrt(spectrum.shrinkage(strength))[:, None]
    return scipy.linalg.eigh(weighted.T @ weighted, driver="evd", check_finite=False)[1][:, ::-1]


def _with_offset(matrix: np.ndarray, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    mean_x, mean_y = moments.means
    return matrix, mean_y - mean_x @ matrix


def _require_pairs(moments: Moments, name: str, without_ridge: bool = True) -> None:
    """Means take one pair; what is left must span the narrower space, or M is not determined."""
    least = min(moments.xy.shape) + 1
    if without_ridge and moments.pairs < least:
        raise StageError(
            f"{name} needs at least {least} pairs for this many dimensions, not {moments.pairs}: use ridge"
        )


@dataclass(frozen=True)
class Adapter:
    """A fitted map and what it maps: old = new @ matrix + offset.

    Attributes:
        kind: one of KINDS.
        matrix: float32 [d_new, d_old].
        offset: float32 [d_old].
        options: what was chosen on held-out pairs: strength, rank.
        pairs: how many images it was fitted on.
        new: the identity of the vectors that it takes.
        old: the identity of those that it gives.
    """

    kind: str
    matrix: np.ndarray
    offset: np.ndarray
    options: dict[str, float]
    pairs: int
    new: dict
    old: dict

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """New vectors, float [m, d_new], as old ones: float32 [m, d_old]."""
        return vectors.astype(np.float32) @ self.matrix + self.offset

    def parameters(self) -> int:
        """How many numbers it has."""
        return self.matrix.size + self.offset.size


def save(path: Path, adapter: Adapter) -> None:
    """Writes an adapter as safetensors; its metadata is one JSON field `adapter`."""
    about = {name: getattr(adapter, name) for name in ("kind", "options", "pairs", "new", "old")}
    arrays = {name: np.ascontiguousarray(getattr(adapter, name), np.float32) for name in ("matrix", "offset")}
    with write_aside(path) as aside:
        save_file(arrays, aside, {"adapter": json.dumps(about, sort_keys=True)})


def load(path: Path, new: dict, old: dict) -> Adapter:
    """Reads an adapter, for vectors of one identity and heads of another.

    Raises:
        StageError: when there is none.
        StoreError: when it is damaged, or between other vectors, with the fields that differ.
    """
    if not path.is_file():
        raise StageError(f"{path} is missing: run visagg swap {path.parent.name} {path.stem}")
    try:
        with safe_open(path, "np") as file:
            about = json.loads(file.metadata()["adapter"])
            adapter = Adapter(matrix=file.get_tensor("matrix"), offset=file.get_tensor("offset"), **about)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{path} is damaged: delete it and run visagg swap again") from None
    for name, given, own in (("new", new, adapter.new), ("old", old, adapter.old)):
        if lines := provenance.differences(given, own):
            raise StoreError(f"{path} was fitted for other {name} vectors ({'; '.join(lines)}): run visagg swap again")
    return adapter
