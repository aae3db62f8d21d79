"""How sure a metric value is: a bootstrap over users and seeds, paired tests, and their correction for being many.

A metric has one value for each seed on all users, and one for each seed on each resample of the users. Heads that are
scored on the same sets share the resamples, which is what pairs them.
"""

from dataclasses import dataclass

import joblib
import numpy as np
from scipy import special

LEVEL = 0.95
UPPER = (1 + LEVEL) / 2
MANY = 1e9  # degrees of freedom with which the t distribution is the normal one
LEAST_WORK = 1 << 30  # pairs of a set and a label, times resamples: some ten seconds
MOST_BYTES, BYTES_A_CELL = 1 << 30, 256  # of all processes at the most, and of one for each pair


@dataclass(frozen=True)
class Estimate:
    """A metric value, or a difference of two.

    Attributes:
        value: the mean over seeds.
        low: lower end of the 95 % interval.
        high: upper end.
        p: of the hypothesis that the value is zero, two-sided.
    """

    value: float
    low: float
    high: float
    p: float


def resample(sets: int, times: int, seed: int) -> np.ndarray:
    """How often each of n = `sets` sets is in each of t = `times` bootstrap samples: float32 [t, n], whole numbers.

    Each row sums to n. A set is a user's.

    >>> resample(sets=4, times=2, seed=0)
    array([[0., 1., 2., 1.],
           [3., 1., 0., 0.]], dtype=float32)
    """
    return _resampled(sets, times, seed, first=0)


def sample_weights(sets: int, times: int) -> np.ndarray:
    """How often each set counts, float32 [1 + t, n]: once each, then as t = `times` resamples have it.

    The same for every head and backbone that is scored on as many sets, so that differences are paired.

    >>> sample_weights(sets=3, times=2)[0]
    array([1., 1., 1.], dtype=float32)
    """
    weights = _resampled(sets, times, seed=0, first=1)
    weights[0] = 1
    return weights


def measuring_processes(cells: int, runs: int, *, resamples: int) -> int:
    """How many processes measure: one a core, where there is more to do than to start them, and memory for them.

    Args:
        cells: pairs of a set and a label.
        runs: how often they are measured, once a seed of a head.
        resamples: of the users.

    >>> measuring_processes(cells=180 * 16, runs=24, resamples=500)
    1
    """
    if cells * runs * resamples < LEAST_WORK:
        return 1
    return max(1, min(joblib.cpu_count(), runs, MOST_BYTES // (cells * BYTES_A_CELL)))


def estimate(values: np.ndarray, reference: np.ndarray | None = None) -> Estimate:
    """A metric value and how sure it is; or how far it lies from a reference that has the same users and resamples.

    Users are resampled with the seeds as they are, seeds with the users as they are, and the two deviations are
    added: drawing both at once would count the noise that a user and a seed have together three times (A. Owen, "The
    pigeonhole bootstrap", 2007). Nor is that noise, which the users' resamples hold already, counted as the seeds'. The
    interval is the bias-corrected percentile interval (B. Efron, "Nonparametric standard errors and confidence
    intervals", 1981): average precision is higher in small samples, and in resamples once more. Few seeds say little
    about their own spread, so interval and test have the t distribution's tails, with the degrees of freedom of F.
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946. With a single seed, users
    alone count.

    Args:
        values: float [s, 1 + t], a row a seed: the value on all users, then on t resamples of them.
        reference: the same of the metric value to subtract, whose seeds may be others.

    >>> values = np.array([[0.6, 0.5, 0.7, 0.6], [0.6, 0.6, 0.7, 0.5]])
    >>> difference = estimate(values, reference=values - 0.2)
    >>> round(difference.value, 3), round(difference.low, 3), round(difference.high, 3)
    (0.2, 0.2, 0.2)
    """
    parts = [values] if reference is None else [values, -reference]
    value = float(sum(part[:, 0].mean() for part in parts))
    users = sum(part[:, 1:].mean(0) for part in parts)
    seeds = [_Seeds(part) for part in parts]
    variance = users.var(ddof=1) + sum(part.variance for part in seeds)
    uncertainty = sum(part.uncertainty for part in seeds)
    least = min(len(part) for part in parts) - 1
    freedom = float(np.clip(variance**2 / uncertainty, least, MANY)) if uncertainty > 0 else MANY
    stretch = special.stdtrit(freedom, UPPER) / special.ndtri(UPPER)
    resampled = users + sum(part.resample(users.size, stream) for stream, part in enumerate(seeds))
    low, high = (value + stretch * (bound - value) for bound in _bias_corrected(resampled, value))
    p = 2 * special.stdtr(freedom, -abs(value) / np.sqrt(variance)) if variance > 0 else value == 0
    return Estimate(value, float(low), float(high), float(p))


def holm(p: np.ndarray) -> np.ndarray:
    """P values of tests that were made together, adjusted so that one false alarm among all is as rare as the level
    says (S. Holm, "A simple sequentially rejective multiple test procedure", 1979): float [m] to float [m].

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    from statsmodels.stats.multitest import multipletests  # heavy, and only the report needs it

    return multipletests(p, 1 - LEVEL, "holm")[1]


def _resampled(sets: int, times: int, seed: int, *, first: int) -> np.ndarray:
    """As `resample`, from row `first` of a float32 [first + t, n] on; one sample's draws are in memory at a time."""
    generator = np.random.default_rng(seed)
    weights = np.empty((first + times, sets), np.float32)
    for row in weights[first:]:
        row[:] = np.bincount(generator.integers(0, sets, sets), minlength=sets)
    return weights


class _Seeds:
    """What the choice of seeds adds to a value's variance.

    Attributes:
        variance: of the mean over seeds; 0 where they differ no more than their users' noise lets expect.
        uncertainty: of that variance: half its own variance, by Satterthwaite.
    """

    def __init__(self, values: np.ndarray):
        self._values, count = values[:, 0], len(values)
        self.variance = self.uncertainty = 0.0
        if count > 1:
            deviations = values[:, 1:] - values[:, 1:].mean(0)
            noise = deviations.var(1, ddof=1).sum() / (count - 1)
            observed = self._values.var(ddof=1)
            self.variance = max(0.0, observed - noise) / count
            self.uncertainty = (observed / count) ** 2 / (count - 1) if self.variance else 0.0

    def resample(self, times: int, stream: int) -> np.ndarray:
        """How far the mean of another draw of seeds could lie from the mean of these: float [times]."""
        if not self.variance:
            return np.zeros(times)
        count = len(self._values)
        draws = self._values[np.random.default_rng(stream).integers(0, count, (times, count))].mean(1)
        return (draws - self._values.mean()) * np.sqrt(self.variance * count / self._values.var())


def _bias_corrected(resampled: np.ndarray, value: float) -> np.ndarray:
    """The quantiles of resampled values between which the value lies, by where `value` is among them: float [2]."""
    below = ((resampled < value).sum() + (resampled == value).sum() / 2) / len(resampled)
    shift = 2 * special.ndtri(np.clip(below, 1 / len(resampled), 1 - 1 / len(resampled)))
    return np.quantile(resampled, special.ndtr(shift + special.ndtri([1 - UPPER, UPPER])))
