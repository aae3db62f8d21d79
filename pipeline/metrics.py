"""Measures of a multi-label ranking: pure functions on arrays.

Shapes: scores float [n, c], a probability for each set and label; truth bool [n, c], at least one True in every row.
A tie in scores favours nobody: a figure at k is its mean over all orders of the tied labels, exactly (F. McSherry and
M. Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores", 2008).

Two definitions of the figures at k stand side by side:
- standard: precision = hits / k, recall = hits / true labels;
- published (the seed's authors'): a label is predicted only if it is among the k best and its score is at least 0.5;
  precision = hits / predicted labels (0 where nothing is predicted), recall = hits / true labels.
F1 is the harmonic mean of a set's precision and recall, 0 where both are. With n true labels the best possible
standard F1 is 2 min(k, n) / (k + n): the ceiling.

Figures over the whole split take `weights`, float [t, n]: how often each set counts, in each of t samples; they answer
with one value a sample. A single row of ones gives the plain figure.
"""

import numpy as np
from scipy import sparse

PUBLISHED_THRESHOLD = 0.5
CELLS = 1 << 17  # numbers worked on at a time: they fit a processor's cache


def ranking(scores: np.ndarray) -> np.ndarray:
    """Label indices from the best score to the worst, equal ones in the labels' order: int64 [n, c]. To show, not to
    measure."""
    return np.argsort(-scores, axis=1, kind="stable")


def at_k(scores: np.ndarray, truth: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The figures at k of every set, by both definitions.

    Args:
        scores: float [n, c].
        truth: bool [n, c].
        k: how many labels are recommended; with fewer labels than k, all of them are, and precision still divides
            by k.

    Returns:
        float64 [n] under precision, recall, f1, ceiling, published_precision, published_recall, published_f1.
    """
    counted = scores >= PUBLISHED_THRESHOLD
    hits, predicted, published_hits = (_among_best(scores, cells, k) for cells in (truth, counted, truth & counted))
    true = truth.sum(1)
    precision, recall = hits / k, hits / true
    published_precision = _ratio(published_hits, predicted)
    published_recall = published_hits / true
    return {
        "precision": precision,
        "recall": recall,
        "f1": harmonic(precision, recall),
        "ceiling": 2 * np.minimum(k, true) / (k + true),
        "published_precision": published_precision,
        "published_recall": published_recall,
        "published_f1": harmonic(published_precision, published_recall),
    }


def _among_best(scores: np.ndarray, cells: np.ndarray, k: int) -> np.ndarray:
    """How many of some labels, bool [n, c], are among each set's k best, on average over the orders of equal scores."""
    k = min(k, scores.shape[1])
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above, tied = scores > last, scores == last
    share = (k - above.sum(1)) / tied.sum(1)
    return (above & cells).sum(1) + share * (tied & cells).sum(1)


def harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Harmonic mean, element by element; 0 where both are 0."""
    return _ratio(2 * a * b, a + b)


def micro_f1(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 over all pairs of a set and a label: bool [n, c] both, float [t, n] to float64 [t]."""
    hits, claims, true = _counts(predicted, truth, weights)
    return _ratio(2 * hits.sum(1), claims.sum(1) + true.sum(1))


def macro_f1(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean F1 of the labels that some set of the sample has: bool [n, c] both, float [t, n] to float64 [t]."""
    hits, claims, true = _counts(predicted, truth, weights)
    return _mean_where(_ratio(2 * hits, claims + true), true > 0)


def of_labels(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each label: bool [n, c] both, float [t, n] to float64 [t, c] each."""
    hits, claims, true = _counts(predicted, truth, weights)
    return {"precision": _ratio(hits, claims), "recall": _ratio(hits, true), "f1": _ratio(2 * hits, claims + true)}


def average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the step-wise precision-recall curve; equal scores are one step.

    Args:
        scores: float [m].
        truth: bool [m].
        weights: float [t, m].

    Returns:
        float64 [t]; 0 for a sample without a positive.
    """
    return _average_precision(scores, truth, _columns(weights), np.arange(len(scores)))


def micro_ap(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision over all pairs of a set and a label: [n, c] both, float [t, n] to float64 [t]."""
    owner = np.repeat(np.arange(len(scores)), scores.shape[1])
    return _average_precision(scores.ravel(), truth.ravel(), _columns(weights), owner)


def macro_ap(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean average precision of the labels that some set of the sample has: as micro_ap."""
    present = np.flatnonzero(truth.any(0))
    columns, owner = _columns(weights), np.arange(len(scores))
    quality = np.stack([_average_precision(scores[:, c], truth[:, c], columns, owner) for c in present], 1)
    return _mean_where(quality, weights @ truth[:, present] > 0)


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the highest micro-F1, for `scores >= threshold`; the highest such, of equals."""
    flat, true = scores.ravel(), truth.ravel()
    order = np.argsort(-flat, kind="stable")
    ends = np.append(np.diff(flat[order]) != 0, True)
    positives = np.cumsum(true[order])[ends]
    claims = np.flatnonzero(ends) + 1
    quality = 2 * positives / (claims + true.sum())
    return float(flat[order][ends][quality.argmax()])


def _average_precision(scores: np.ndarray, truth: np.ndarray, columns: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """As average_precision, of scores that belong to n sets: `owner`, int [m]; `columns` are their weights, [n, t].

    The curve steps only where a group of equal scores holds a positive, so weights are summed from one such group to
    the next, for all samples at once: a product with a sparse matrix that has a one for each score.
    """
    order = np.argsort(-scores, kind="stable")
    true, owner = truth[order], owner[order]
    tied = np.append(0, np.cumsum(np.diff(scores[order]) != 0))  # which group of equal scores
    stepping = np.unique(tied[true])
    step = np.searchsorted(stepping, tied)  # the first step at or behind a score; none behind the last
    behind = step < len(stepping)
    everything, positives = (
        sparse.csr_array((np.ones(own.sum()), (step[own], owner[own])), (len(stepping), len(columns)))
        for own in (behind, true)
    )
    answers = []
    for part in np.array_split(columns, max(1, -(-columns.size // CELLS)), axis=1):
        gained = positives @ part
        precision = _ratio(np.cumsum(gained, 0), np.cumsum(everything @ part, 0))
        answers.append(_ratio((gained * precision).sum(0), gained.sum(0)))
    return np.concatenate(answers)


def _columns(weights: np.ndarray) -> np.ndarray:
    """Weights float [t, n] to float64 [n, t], a set's in a row."""
    return np.ascontiguousarray(weights.T, np.float64)


def _counts(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Hits, predictions and truths of each sample and label: float64 [t, c] each."""
    cells = np.hstack([predicted & truth, predicted, truth]).astype(np.float32)  # whole numbers up to 2^24 are exact
    return np.split((weights.astype(np.float32) @ cells).astype(np.float64), 3, axis=1)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(b, dtype=np.float64), where=b > 0)


def _mean_where(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean of each row's values that count: float [t, c], bool [t, c] to float64 [t]."""
    return _ratio((values * present).sum(1), present.sum(1).astype(np.float64))
