"""Metrics of each set's k best labels, by two definitions: pure functions on arrays.

Shapes: scores float [n, c], a probability for each set and label; truth bool [n, c], at least one True in every row.
A tie in scores favours nobody: a metric at k is its mean over all orders of the tied labels, exactly (F. McSherry and
M. Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores", 2008).

- standard: precision = hits / k, recall = hits / true labels;
- published (the seed's authors'): a label is predicted only if it is among the k best and its score is at least 0.5;
  precision = hits / predicted labels (0 where nothing is predicted), recall = hits / true labels.
F1 is the harmonic mean of a set's precision and recall, 0 where both are. With n true labels the best possible
standard F1 is 2 min(k, n) / (k + n): the ceiling.
"""

import numpy as np

from pipeline.metrics.selection import ratio

PUBLISHED_THRESHOLD = 0.5


def at_k(scores: np.ndarray, truth: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The metrics at k of every set, by both definitions.

    Args:
        scores: float [n, c].
        truth: bool [n, c].
        k: how many labels are recommended; with fewer labels than k, all of them are, and precision still divides
            by k.

    Returns:
        float64 [n] under precision, recall, f1, ceiling, published_precision, published_recall, published_f1.

    >>> values = at_k(np.array([[0.9, 0.6, 0.4]]), np.array([[True, False, True]]), k=2)
    >>> {name: value.item() for name, value in values.items() if "f1" not in name}
    {'precision': 0.5, 'recall': 0.5, 'ceiling': 1.0, 'published_precision': 0.5, 'published_recall': 0.5}
    """
    best = _Best(scores, k)
    counted = scores >= PUBLISHED_THRESHOLD
    hits, predicted, published_hits = (best.count(cells) for cells in (truth, counted, truth & counted))
    true = truth.sum(1)
    precision, recall = hits / k, hits / true
    published_precision, published_recall = ratio(published_hits, predicted), published_hits / true
    return {
        "precision": precision,
        "recall": recall,
        "f1": harmonic(precision, recall),
        "ceiling": 2 * np.minimum(k, true) / (k + true),
        "published_precision": published_precision,
        "published_recall": published_recall,
        "published_f1": harmonic(published_precision, published_recall),
    }


class _Best:
    """Each set's k best labels; of equal scores on the border, each is among them with the same probability."""

    def __init__(self, scores: np.ndarray, k: int):
        k = min(k, scores.shape[1])
        last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        self._above, self._tied = scores > last, scores == last
        self._share = (k - self._above.sum(1)) / self._tied.sum(1)

    def count(self, cells: np.ndarray) -> np.ndarray:
        """How many of some labels, bool [n, c], are among them on average over the orders of equal scores: [n]."""
        return (self._above & cells).sum(1) + self._share * (self._tied & cells).sum(1)


def harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Harmonic mean, element by element; 0 where both are 0.

    >>> harmonic(np.array([1.0, 0.0]), np.array([0.5, 0.0])).round(3)
    array([0.667, 0.   ])
    """
    return ratio(2 * a * b, a + b)
