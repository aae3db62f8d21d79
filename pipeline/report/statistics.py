"""From values on resamples to what tables show: intervals, and tests of one head against another."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.metrics.bootstrap import LEVEL, estimate, holm

KEYS = ["metric", "k", "by", "segment"]
COMPARED_AT_K = ("f1",)

Pair = tuple[str, str]


@dataclass(frozen=True)
class Samples:
    """A metric before it is summed up: how many sets, and its values, float [seeds, 1 + resamples]."""

    n: int
    values: np.ndarray


@dataclass(frozen=True)
class Question:
    """One head against another on the same backbone.

    Attributes:
        pair: the backbone and the head.
        against: the other head.
        asked: whether the tables ask it: only such questions count in Holm's correction.
    """

    pair: Pair
    against: str
    asked: bool


def samples_of(values: pl.DataFrame) -> dict[tuple, Samples]:
    """A head's values by metric, k, by and segment."""
    grouped = values.group_by(KEYS, maintain_order=True).agg("n", "value", "samples")
    return {
        tuple(row[key] for key in KEYS): Samples(
            row["n"][0], np.column_stack([row["value"], np.array(row["samples"], np.float64)])
        )
        for row in grouped.iter_rows(named=True)
    }


def estimates(samples: dict[Pair, dict[tuple, Samples]]) -> pl.DataFrame:
    """Each metric value with its interval; all lie between 0 and 1."""
    rows = []
    for pair, metrics in samples.items():
        for key, sampled in metrics.items():
            estimated = estimate(sampled.values)
            bounds = (max(0.0, estimated.low), min(1.0, estimated.high))
            rows.append((*pair, *key, sampled.n, len(sampled.values), estimated.value, *bounds))
    names = ["backbone", "head", *KEYS, "n", "seeds", "mean", "low", "high"]
    kinds = [pl.String, pl.String, pl.String, pl.Int64, pl.String, pl.String, pl.Int64, pl.Int64, *[pl.Float64] * 3]
    return pl.DataFrame(rows, dict(zip(names, kinds, strict=True)), orient="row")


def questions(
    pairs: list[Pair], *, best: dict[str, str], reference: dict[str, str], average: str | None, classifier: str
) -> Iterator[Question]:
    """What the tables ask: the best head against the best published one and against true image labels, each against
    averaging. That each other head stands against the best published one is worked out too, but not asked.

    >>> pairs = [("b", "average"), ("b", "squeeze_fc"), ("b", "noisy_or")]
    >>> known = {"best": {"b": "noisy_or"}, "reference": {"b": "squeeze_fc"}}
    >>> found = questions(pairs, **known, average="average", classifier="image_classifier")
    >>> [(question.pair[1], question.against) for question in found if question.asked]
    [('squeeze_fc', 'average'), ('noisy_or', 'squeeze_fc'), ('noisy_or', 'image_classifier'), ('noisy_or', 'average')]
    """
    for backbone, head in pairs:
        is_best, published = head == best.get(backbone), reference.get(backbone)
        against: dict[str | None, bool] = {published: is_best}
        if is_best:
            against[classifier] = True
        against[average] = True
        for other, asked in against.items():
            if other is not None and other != head:
                yield Question((backbone, head), other, asked)


def comparisons(asked: Iterator[Question], samples: dict[Pair, dict[tuple, Samples]]) -> pl.DataFrame:
    """The answers: one family of tests, and what was not asked, which has no adjusted p and does not hold."""
    rows = []
    for question in asked:
        other = (question.pair[0], question.against)
        if not {question.pair, other} <= samples.keys():
            continue
        for key, sampled in samples[question.pair].items():
            metric, k, by, _ = key
            if key in samples[other] and by == "all" and (metric in COMPARED_AT_K or k is None):
                estimated = estimate(sampled.values, samples[other][key].values)
                bounds = (max(-1.0, estimated.low), min(1.0, estimated.high))
                row = (*question.pair, question.against, metric, k, estimated.value, *bounds, estimated.p)
                rows.append((*row, question.asked))
    names = ["backbone", "head", "against", "metric", "k", "difference", "low", "high", "p", "asked"]
    kinds = [*[pl.String] * 4, pl.Int64, *[pl.Float64] * 4, pl.Boolean]
    frame = pl.DataFrame(rows, dict(zip(names, kinds, strict=True)), orient="row")
    family = frame.filter("asked")
    adjusted = np.full(len(frame), np.nan)
    if len(family):
        adjusted[frame["asked"].to_numpy()] = holm(family["p"].to_numpy())
    frame = frame.with_columns(pl.Series("adjusted", adjusted).fill_nan(None))
    return frame.with_columns(holds=(pl.col("adjusted") < 1 - LEVEL).fill_null(value=False))
