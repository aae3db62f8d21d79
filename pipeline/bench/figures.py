"""What was measured, to figures and a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.bench.child import Child

FOLDS = 5
COLUMNS = ("contender", "images/s", "ratio [low, high]", "cosine", "peak MB", "start s", "probe %")


@dataclass
class Measured:
    """One contender's run.

    Attributes:
        engine: what it ran, for people.
        start_seconds: until it was ready.
        seconds: of each block.
        vectors: of each block, float32 [m, d].
        peak: of its memory while it worked, in bytes; None where it is not known.
    """

    engine: str
    start_seconds: float
    seconds: list[float] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    peak: int | None = None

    @classmethod
    def of(cls, child: Child) -> "Measured":
        """Of a contender that is ready."""
        return cls(child.engine, child.start_seconds)


def figures(name: str, measured: Measured, reference: Measured, classes: Sequence[str] | None) -> dict:
    """One contender's figures, as JSON values.

    Args:
        name: the contender's.
        measured: its run.
        reference: the run that it is compared with.
        classes: of each photo; None where the weights are random, so that vectors say little of them.
    """
    vectors, expected = np.concatenate(measured.vectors), np.concatenate(reference.vectors)
    total = sum(measured.seconds)
    ratios = [theirs / mine for mine, theirs in zip(measured.seconds, reference.seconds)]
    accuracy = probe_accuracy(vectors, classes) if classes else None
    return {
        "name": name,
        "engine": measured.engine,
        "images_per_second": round(len(vectors) / total, 2),
        "ratio": round(sum(reference.seconds) / total, 4),
        "ratio_low": round(min(ratios), 4),
        "ratio_high": round(max(ratios), 4),
        "cosine": round(smallest_cosine(vectors, expected), 6),
        "peak_mb": None if measured.peak is None else round(measured.peak / 1e6, 1),
        "start_seconds": round(measured.start_seconds, 2),
        "probe_accuracy": None if accuracy is None else round(accuracy, 2),
    }


def smallest_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest cosine between the vectors of two arrays, float [n, d], image by image, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def probe_accuracy(vectors: np.ndarray, classes: Sequence[str]) -> float | None:
    """How many classes in a hundred a logistic regression on the vectors tells, by cross-validation.

    Args:
        vectors: float [n, d].
        classes: n names.

    Returns:
        Percent; None with fewer than two classes, or a class too small for the folds.
    """
    counts = Counter(classes)
    if len(counts) < 2 or min(counts.values()) < FOLDS:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return 100 * float(cross_val_score(probe, vectors, np.array(classes), cv=folds).mean())


def table(contenders: Sequence[dict]) -> str:
    """The figures as aligned text, a line each."""
    rows = [COLUMNS, *(_cells(figures) for figures in contenders)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )


def _cells(figures: dict) -> tuple[str, ...]:
    return (
        figures["name"],
        f"{figures['images_per_second']:.1f}",
        f"{figures['ratio']:.2f} [{figures['ratio_low']:.2f}, {figures['ratio_high']:.2f}]",
        f"{figures['cosine']:.6f}",
        _or_dash(figures["peak_mb"], ".0f"),
        f"{figures['start_seconds']:.1f}",
        _or_dash(figures["probe_accuracy"], ".1f"),
    )


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
