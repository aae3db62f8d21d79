"""Whether probabilities mean what they say: whether of all pairs of a set and label that get 0.7 seven in ten are true.

Pairs are put into bins of equal width by their probability (C. Guo et al., "On calibration of modern neural networks",
ICML 2017): an upper edge belongs to its bin, and 0 to the first.

Shapes: scores float [n, c], a probability for each set and label; truth bool [n, c]; weights float [t, n], how often
each set counts, in each of t samples. A single row of ones gives the plain value.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.selection import ratio

BINS = 10
EDGES = np.linspace(0, 1, BINS + 1)


@dataclass(frozen=True)
class Bin:
    """The pairs of a set and a label whose probabilities lie near each other.

    Attributes:
        name: its edges, such as "0.2-0.3".
        n: how many pairs there are, of all sets.
        probability: their mean probability, float64 [t].
        share_true: the share of them that is true, float64 [t].
    """

    name: str
    n: int
    probability: np.ndarray
    share_true: np.ndarray


def reliability(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> list[Bin]:
    """What is true of what was claimed, bin by bin; a bin without a pair is left out.

    A sample that has no pair of a bin takes the values of all sets: it says nothing else of it.

    Args:
        scores: float [n, c].
        truth: bool [n, c].
        weights: float [t, n].

    >>> bins = reliability(np.array([[0.62, 0.1], [0.66, 0.1]]), np.array([[1, 0], [0, 0]]) > 0, np.ones((1, 2)))
    >>> [(part.name, part.n, part.probability.round(2).tolist(), part.share_true.tolist()) for part in bins]
    [('0.0-0.1', 2, [0.1], [0.0]), ('0.6-0.7', 2, [0.64], [0.5])]
    """
    n, *sums = (_by_bin(scores, values) for values in (np.ones(scores.shape), scores, truth))
    pairs, whole = weights @ n, n.sum(0)
    probability, share_true = (np.where(pairs > 0, ratio(weights @ s, pairs), ratio(s.sum(0), whole)) for s in sums)
    return [
        Bin(f"{EDGES[i]:.1f}-{EDGES[i + 1]:.1f}", int(whole[i]), probability[:, i], share_true[:, i])
        for i in np.flatnonzero(whole)
    ]


def expected_calibration_error(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How far a bin's mean probability lies from the share of it that is true, mean over all pairs.

    Args:
        scores: float [n, c].
        truth: bool [n, c].
        weights: float [t, n].

    Returns:
        float64 [t]; 0 for a sample without a set.

    >>> scores, truth = np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([[1, 0], [0, 0]]) > 0
    >>> expected_calibration_error(scores, truth, np.array([[1, 1], [2, 0]]))  # both sets; then the first set twice
    array([0.25, 0.25])
    """
    gaps = weights @ _by_bin(scores, scores - truth)
    return ratio(np.abs(gaps).sum(1), weights.sum(1, dtype=np.float64) * scores.shape[1])


def error_by_chance(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What the expected calibration error would be on average if every probability were right: float64 [t].

    The fewer pairs, the greater. How many of a bin are true then has a nearly normal distribution, whose mean distance
    from its centre is sqrt(2 / pi) times its standard deviation; pairs are taken as independent.

    Args:
        scores: float [n, c].
        weights: float [t, n].

    >>> error_by_chance(np.full((50, 2), 0.5), np.ones((1, 50))).round(2)
    array([0.04])
    """
    variances = weights @ _by_bin(scores, scores * (1 - scores))
    distances = np.sqrt(2 / np.pi * variances).sum(1)
    return ratio(distances, weights.sum(1, dtype=np.float64) * scores.shape[1])


def without_excess(values: np.ndarray) -> np.ndarray:
    """A calibration error of all sets, then on resamples, float64 [1 + t]; the latter less what makes them too great.

    What is a distance in the sample is one more in a resample, by the noise of drawing again: all resamples would lie
    above the value, and no interval of them would hold it. Their mean becomes the value.

    >>> without_excess(np.array([0.02, 0.03, 0.05])).round(3)
    array([0.02, 0.01, 0.03])
    """
    return np.append(values[:1], values[1:] - (values[1:].mean() - values[0]))


def _by_bin(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of a number that each pair has, by set and bin of the pair's score: [n, c] both, to float64 [n, BINS]."""
    cells = np.arange(len(scores))[:, None] * BINS + np.searchsorted(EDGES[1:-1], scores.astype(np.float64))
    sums = np.bincount(cells.ravel(), values.ravel().astype(np.float64), minlength=len(scores) * BINS)
    return sums.reshape(-1, BINS)
