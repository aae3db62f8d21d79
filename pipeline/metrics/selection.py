"""The metrics by which models are chosen: micro average precision, and micro F1 at its best threshold.

They stand apart from the others (`ranking.py`), so that a new metric retrains nothing.

Shapes: scores float [n, c], a probability for each set and label; truth bool [n, c], at least one True in every row.
Metrics of a whole split take `weights`, float [t, n]: how often each set counts, in each of t samples; they answer with
one value a sample. A single row of ones gives the plain value.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

CELLS = 1 << 17  # numbers worked on at a time: they fit a processor's cache
LEAST_SAMPLES = 16  # samples worked on at a time: with fewer, looking up a score's set costs more than adding it up


def micro_f1(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 over all pairs of a set and a label: 2 hits / (predictions + truths).

    Args:
        predicted: bool [n, c].
        truth: bool [n, c].
        weights: float [t, n].

    Returns:
        float64 [t]; 0 for a sample in which nothing is predicted and nothing is true.

    >>> truth = np.array([[True, False], [True, True]])
    >>> predicted = np.array([[True, False], [True, False]])
    >>> micro_f1(predicted, truth, np.array([[1, 1], [2, 0]]))  # both sets; then the first set twice
    array([0.8, 1. ])
    """
    hits, claims, true = counts(predicted, truth, weights)
    return ratio(2 * hits.sum(1), claims.sum(1) + true.sum(1))


def average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the step-wise precision-recall curve; equal scores are one step.

    The definition is scikit-learn's: the sum over steps of precision times the recall gained, without interpolation.

    Args:
        scores: float [m].
        truth: bool [m].
        weights: float [t, m].

    Returns:
        float64 [t]; 0 for a sample without a positive.

    >>> average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]), np.ones((1, 3))).round(3)
    array([0.833])
    """
    return areas([Curve(scores, truth, set_of_score=np.arange(len(scores)))], weights)[:, 0]


def micro_ap(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision over all pairs of a set and a label.

    Args:
        scores: float [n, c].
        truth: bool [n, c].
        weights: float [t, n].

    Returns:
        float64 [t]; 0 for a sample without a positive.

    >>> micro_ap(np.array([[0.9, 0.8], [0.1, 0.3]]), np.array([[True, False], [True, False]]), np.ones((1, 2)))
    array([0.75])
    """
    set_of_score = np.repeat(np.arange(len(scores), dtype=np.int32), scores.shape[1])
    return areas([Curve(scores.ravel(), truth.ravel(), set_of_score=set_of_score)], weights)[:, 0]


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the highest micro F1, for `scores >= threshold`; the highest such, of equals.

    Args:
        scores: float [n, c].
        truth: bool [n, c].

    >>> best_threshold(np.array([[0.9, 0.2], [0.6, 0.4]]), np.array([[True, False], [True, False]]))
    0.6
    """
    flat, true = scores.ravel(), truth.ravel()
    order = np.argsort(-flat, kind="stable")
    ends = np.append(np.diff(flat[order]) != 0, True)
    positives = np.cumsum(true[order])[ends]
    claims = np.flatnonzero(ends) + 1
    quality = 2 * positives / (claims + true.sum())
    return float(flat[order][ends][quality.argmax()])


def micro_of_seeds(
    scores: Sequence[np.ndarray], truth: np.ndarray, thresholds: Sequence[float], *, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Both micro metrics of each seed.

    Args:
        scores: float [n, c], one a seed.
        truth: bool [n, c].
        thresholds: of the score, one a seed.
        weights: float [t, n].

    Returns:
        float64 [seeds, t] under micro_ap and micro_f1.

    >>> scores, truth = np.array([[0.9, 0.2], [0.4, 0.6]]), np.array([[True, False], [True, True]])
    >>> micro_of_seeds([scores], truth, [0.5], weights=np.ones((1, 2)))
    {'micro_ap': array([[1.]]), 'micro_f1': array([[0.8]])}
    """
    pairs = zip(scores, thresholds, strict=True)
    return {
        "micro_ap": np.stack([micro_ap(values, truth, weights) for values in scores]),
        "micro_f1": np.stack([micro_f1(values >= threshold, truth, weights) for values, threshold in pairs]),
    }


def best_first(scores: np.ndarray) -> np.ndarray:
    """Label indices from the best score to the worst, equal ones in the labels' order: int64 [n, c].

    To show, not to measure: metrics let no order of equal scores decide.

    >>> best_first(np.array([[0.2, 0.9, 0.2]]))
    array([[1, 0, 2]])
    """
    return np.argsort(-scores, axis=1, kind="stable")


class Curve:
    """The steps of a precision-recall curve of scores, of which several may belong to one set.

    The curve steps only where a group of equal scores holds a positive, so weights are summed from one such group to
    the next, for many samples at once: a product with a sparse matrix that has a one for each score.

    Args:
        scores: float [m].
        truth: bool [m].
        set_of_score: which of n sets each score is of, int [m]; the last set is of one of them.
    """

    def __init__(self, scores: np.ndarray, truth: np.ndarray, *, set_of_score: np.ndarray):
        order = np.argsort(-scores, kind="stable")
        true, sets, ranked = truth[order], set_of_score.astype(np.int32, copy=False)[order], scores[order]
        del order
        tied = np.cumsum(np.diff(ranked, prepend=ranked[:1]) != 0, dtype=np.int32)  # which group of equal scores
        steps = np.zeros(tied[-1] + 1, bool)  # whether a group holds a positive
        steps[tied[true]] = True
        step = (np.cumsum(steps, dtype=np.int32) - steps)[tied]  # the first step at or behind a score, ascending
        behind = np.searchsorted(step, steps.sum())
        self._shape = (int(steps.sum()), int(sets.max()) + 1)
        self._everything = self._matrix(step[:behind], sets[:behind])
        self._positives = self._matrix(step[true], sets[true])

    def _matrix(self, steps: np.ndarray, sets: np.ndarray) -> sparse.csr_array:
        """A one for each score, in the row of its step, ascending, and the column of its set."""
        starts = np.searchsorted(steps, np.arange(self._shape[0] + 1)).astype(np.int32)
        return sparse.csr_array((np.ones(len(steps), np.int8), sets, starts), self._shape)

    def areas(self, set_weights: np.ndarray) -> np.ndarray:
        """The area under it in each sample: a set's weights in a row, float64 [n, t], to float64 [t].

        >>> curve = Curve(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]), set_of_score=np.array([0, 1, 1]))
        >>> curve.areas(np.array([[2.0], [1.0]]))
        array([0.91666667])
        """
        area, hits, claims = np.zeros((3, set_weights.shape[1]))
        rows = max(1, CELLS // max(1, set_weights.shape[1]))
        for start in range(0, self._shape[0], rows):
            steps = slice(start, start + rows)
            gained = self._positives[steps] @ set_weights
            found = hits + np.cumsum(gained, 0)
            shown = claims + np.cumsum(self._everything[steps] @ set_weights, 0)
            area += (gained * ratio(found, shown)).sum(0)
            hits, claims = found[-1], shown[-1]
        return ratio(area, hits)


def areas(curves: Sequence[Curve], weights: np.ndarray) -> np.ndarray:
    """The area under some curves of the same sets in each sample: weights float [t, n] to float64 [t, curves].

    >>> curve = Curve(np.array([0.9, 0.8]), np.array([False, True]), set_of_score=np.arange(2))
    >>> areas([curve], np.array([[1.0, 1.0], [0.0, 1.0]])).tolist()
    [[0.5], [1.0]]
    """
    samples = max(LEAST_SAMPLES, CELLS // weights.shape[1])
    parts = []
    for start in range(0, len(weights), samples):
        set_weights = np.ascontiguousarray(weights[start : start + samples].T, np.float64)
        parts.append(np.stack([curve.areas(set_weights) for curve in curves], 1))
    return np.concatenate(parts)


def counts(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Hits, predictions and truths of each sample and label: bool [n, c] both, float [t, n] to float64 [t, c] each.

    >>> predicted, truth = np.array([[True], [True]]), np.array([[True], [False]])
    >>> [count.item() for count in counts(predicted, truth, np.array([[1, 2]]))]
    [1.0, 3.0, 1.0]
    """
    cells = np.hstack([predicted & truth, predicted, truth]).astype(np.float32)  # whole numbers up to 2^24 are exact
    return np.split((weights.astype(np.float32) @ cells).astype(np.float64), 3, axis=1)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, element by element, and 0 where b is 0.

    >>> ratio(np.array([1.0, 1.0]), np.array([2.0, 0.0]))
    array([0.5, 0. ])
    """
    return np.divide(a, b, out=np.zeros_like(b, dtype=np.float64), where=b > 0)
