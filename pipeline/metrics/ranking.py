"""Metrics of a multi-label ranking: pure functions on arrays. Those of the k best labels: `at_k.py`; those by which
models are chosen: `selection.py`.

Shapes: scores float [n, c], a probability for each set and label; truth bool [n, c], at least one True in every row.

Metrics of a whole split take `weights`, float [t, n]: how often each set counts, in each of t samples; they answer
with one value a sample. A single row of ones gives the plain value.
"""

import numpy as np

from pipeline.metrics.selection import Curve, areas, counts, ratio


def macro_f1(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean F1 of the labels that some set of the sample has: bool [n, c] both, float [t, n] to float64 [t].

    >>> truth = np.array([[True, False, False], [True, True, False]])  # nobody has the third label
    >>> macro_f1(np.array([[True, False, True], [True, False, True]]), truth, np.ones((1, 2)))
    array([0.5])
    """
    hits, claims, true = counts(predicted, truth, weights)
    return _mean_where(ratio(2 * hits, claims + true), true > 0)


def of_labels(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each label: bool [n, c] both, float [t, n] to float64 [t, c] each.

    >>> truth = np.array([[True, False], [True, True]])
    >>> of_labels(np.array([[True, True], [False, True]]), truth, np.ones((1, 2)))["recall"]
    array([[0.5, 1. ]])
    """
    hits, claims, true = counts(predicted, truth, weights)
    return {"precision": ratio(hits, claims), "recall": ratio(hits, true), "f1": ratio(2 * hits, claims + true)}


def macro_ap(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean average precision of the labels that some set of the sample has: [n, c] both, float [t, n] to float64 [t].

    >>> macro_ap(np.array([[0.9, 0.8], [0.1, 0.3]]), np.array([[True, False], [True, True]]), np.ones((1, 2)))
    array([0.75])
    """
    present = np.flatnonzero(truth.any(0))
    sets = np.arange(len(scores))
    curves = [Curve(scores[:, label], truth[:, label], set_of_score=sets) for label in present]
    return _mean_where(areas(curves, weights), weights @ truth[:, present] > 0)


def _mean_where(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean of each row's values that count: float [t, c], bool [t, c] to float64 [t]."""
    return ratio((values * present).sum(1), present.sum(1).astype(np.float64))
