"""How sure a figure is: a bootstrap over users and seeds, paired tests, and their correction for being many.

A figure has one value for each seed on all users, and one for each seed on each resample of the users. Heads that are
scored on the same sets share the resamples, which is what pairs them.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95
UPPER = (1 + LEVEL) / 2
MANY = 1e9  # degrees of freedom with which the t distribution is the normal one


@dataclass(frozen=True)
class Estimate:
    """A figure, or a difference of two.

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


def resample(n: int, times: int, seed: int) -> np.ndarray:
    """How often each of n users is in each bootstrap sample: float32 [times, n], each row sums to n."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, n, (times, n))
    return np.stack([np.bincount(draw, minlength=n) for draw in draws]).astype(np.float32)


def estimate(values: np.ndarray, minus: np.ndarray | None = None) -> Estimate:
    """A figure and how sure it is; or how far it lies from another one that has the same users and resamples.

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
        minus: the same of the other figure, whose seeds may be others.
    """
    parts = [values] if minus is None else [values, -minus]
    value = float(sum(part[:, 0].mean() for part in parts))
    users = sum(part[:, 1:].mean(0) for part in parts)
    seeds = [_Seeds(part) for part in parts]
    variance = users.var(ddof=1) + sum(own.variance for own in seeds)
    spread = sum(own.uncertainty for own in seeds)
    least = min(len(part) for part in parts) - 1
    freedom = float(np.clip(variance**2 / spread, least, MANY)) if spread > 0 else MANY
    stretch = special.stdtrit(freedom, UPPER) / special.ndtri(UPPER)
    resampled = users + sum(own.resample(users.size, stream) for stream, own in enumerate(seeds))
    low, high = (value + stretch * (bound - value) for bound in _bias_corrected(resampled, value))
    p = 2 * special.stdtr(freedom, -abs(value) / np.sqrt(variance)) if variance > 0 else value == 0
    return Estimate(value, float(low), float(high), float(p))


def holm(p: np.ndarray) -> np.ndarray:
    """P values of tests that were made together, adjusted so that one false alarm among all is as rare as the level
    says (S. Holm, "A simple sequentially rejective multiple test procedure", 1979): float [m] to float [m]."""
    from statsmodels.stats.multitest import multipletests  # heavy, and only the report needs it

    return multipletests(p, 1 - LEVEL, "holm")[1]


class _Seeds:
    """What the choice of seeds adds to a figure's variance.

    Attributes:
        variance: of the mean over seeds; 0 where they differ no more than their users' noise lets expect.
        uncertainty: of that variance: half its own variance, by Satterthwaite.
    """

    def __init__(self, values: np.ndarray):
        self._all, count = values[:, 0], len(values)
        self.variance = self.uncertainty = 0.0
        if count > 1:
            apart = values[:, 1:] - values[:, 1:].mean(0)
            noise = apart.var(1, ddof=1).sum() / (count - 1)
            seen = self._all.var(ddof=1)
            self.variance = max(0.0, seen - noise) / count
            self.uncertainty = (seen / count) ** 2 / (count - 1) if self.variance else 0.0

    def resample(self, times: int, stream: int) -> np.ndarray:
        """How far the mean of other seeds could lie from the mean of these: float [times]."""
        if not self.variance:
            return np.zeros(times)
        count = len(self._all)
        drawn = self._all[np.random.default_rng(stream).integers(0, count, (times, count))].mean(1)
        return (drawn - self._all.mean()) * np.sqrt(self.variance * count / self._all.var())


def _bias_corrected(resampled: np.ndarray, value: float) -> np.ndarray:
    """The quantiles of resampled values between which the figure lies, by where `value` is among them: float [2]."""
    below = ((resampled < value).sum() + (resampled == value).sum() / 2) / len(resampled)
    shift = 2 * special.ndtri(np.clip(below, 1 / len(resampled), 1 - 1 / len(resampled)))
    return np.quantile(resampled, special.ndtr(shift + special.ndtri([1 - UPPER, UPPER])))
