"""What was measured of contenders, to values and a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.core.vectors import cosines

FOLDS = 5
COLUMNS = ("contender", "images/s", "ratio [low, high]", "cosine", "peak MB", "start s", "probe %")


@dataclass
class ContenderRun:
    """What was measured of a contender.

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


def contender_values(name: str, run: ContenderRun, reference: ContenderRun, *, classes: Sequence[str] | None) -> dict:
    """A contender's values, as JSON values.

    Args:
        name: the contender's.
        run: what was measured of it.
        reference: of the contender that it is compared with.
        classes: of each photo; None where the weights are random, so that vectors say little of them.
    """
    vectors, expected = np.concatenate(run.vectors), np.concatenate(reference.vectors)
    total = sum(run.seconds)
    ratios = [theirs / ours for ours, theirs in zip(run.seconds, reference.seconds, strict=True)]
    accuracy = probe_accuracy(vectors, classes) if classes else None
    return {
        "name": name,
        "engine": run.engine,
        "images_per_second": round(len(vectors) / total, 2),
        "ratio": round(sum(reference.seconds) / total, 4),
        "ratio_low": round(min(ratios), 4),
        "ratio_high": round(max(ratios), 4),
        "cosine": round(float(cosines(vectors, expected).min()), 6),
        "peak_mb": None if run.peak is None else round(run.peak / 1e6, 1),
        "start_seconds": round(run.start_seconds, 2),
        "probe_accuracy": None if accuracy is None else round(accuracy, 2),
    }


def probe_accuracy(vectors: np.ndarray, classes: Sequence[str]) -> float | None:
    """In how many of a hundred photos a logistic regression on the vectors tells the class, by cross-validation.

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
    """The values as aligned text, a line each."""
    rows = [COLUMNS, *(_cells(contender) for contender in contenders)]
    lengths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(lengths[0]), *(cell.rjust(length) for cell, length in zip(row[1:], lengths[1:]))])
        for row in rows
    )


def _cells(contender: dict) -> tuple[str, ...]:
    return (
        contender["name"],
        f"{contender['images_per_second']:.1f}",
        f"{contender['ratio']:.2f} [{contender['ratio_low']:.2f}, {contender['ratio_high']:.2f}]",
        f"{contender['cosine']:.6f}",
        _or_dash(contender["peak_mb"], ".0f"),
        f"{contender['start_seconds']:.1f}",
        _or_dash(contender["probe_accuracy"], ".1f"),
    )


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
