"""Measures of a multi-label ranking: pure functions on arrays.

Shapes: scores float [n, c], a probability for each set and label; truth bool [n, c], at least one True in every row.
Ties in scores are broken by the label's index, that is, by the alphabet, which knows nothing of the truth.

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

PUBLISHED_THRESHOLD = 0.5
CELLS = 1 << 18  # numbers worked on at a time: they fit a processor's cache


def ranking(scores: np.ndarray) -> np.ndarray:
    """Label indices from the best score to the worst: int64 [n, c]."""
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
    best = ranking(scores)[:, :k]
    hits = np.take_along_axis(truth, best, 1)
    predicted = np.take_along_axis(scores, best, 1) >= PUBLISHED_THRESHOLD
    true = truth.sum(1)
    precision, recall = hits.sum(1) / k, hits.sum(1) / true
    published_hits = (hits & predicted).sum(1)
    published_precision = published_hits / np.maximum(predicted.sum(1), 1)
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


def average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the step-wise precision-recall curve; equal scores are one step.

    Args:
        scores: float [m].
        truth: bool [m].
        weights: float [t, m].

    Returns:
        float64 [t]; 0 for a sample without a positive.
    """
    return _average_precision(scores, truth, weights, np.arange(len(scores)))


def _average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """As average_precision; `owners`, int [m], says which column of the weights each score has."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # a threshold lies behind equal scores only
    positives = np.flatnonzero(truth[order])
    if not len(positives):
        return np.zeros(len(weights))
    ends = ends[np.searchsorted(ends, positives)]  # each positive's step; no other place counts
    latest = np.searchsorted(positives, ends, side="right") - 1
    owners = owners[order]
    answers = []
    for part in np.array_split(weights, max(1, -(-len(weights) * len(scores) // CELLS))):
        claims = np.cumsum(part[:, owners], 1, dtype=np.float64)[:, ends]
        steps = part[:, owners[positives]].astype(np.float64)
        hits = np.cumsum(steps, 1)
        answers.append(_ratio((steps * _ratio(hits[:, latest], claims)).sum(1), hits[:, -1]))
    return np.concatenate(answers)


def micro_ap(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision over all pairs of a set and a label: [n, c] both, float [t, n] to float64 [t]."""
    owners = np.repeat(np.arange(len(scores)), scores.shape[1])
    return _average_precision(scores.ravel(), truth.ravel(), weights, owners)


def macro_ap(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean average precision of the labels that some set of the sample has: as micro_ap."""
    present = np.flatnonzero(truth.any(0))
    quality = np.stack([average_precision(scores[:, c], truth[:, c], weights) for c in present], 1)
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


def _counts(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hits, predictions and truths of each sample and label: float64 [t, c] each."""
    return tuple(
        weights.astype(np.float64) @ cells.astype(np.float64) for cells in (predicted & truth, predicted, truth)
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(b, dtype=np.float64), where=b > 0)


def _mean_where(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean of each row's values that count: float [t, c], bool [t, c] to float64 [t]."""
    return _ratio((values * present).sum(1), present.sum(1).astype(np.float64))
