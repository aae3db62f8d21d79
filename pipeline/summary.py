"""Scores of a split to figures: of all sets, of some of them, of some labels; for every seed and every resample."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline import metrics, statistics

if TYPE_CHECKING:
    from pipeline.params import EvaluateSettings

OVERALL = ("micro_f1", "macro_f1", "micro_ap", "macro_ap")
OF_SEGMENTS = ("micro_f1", "micro_ap")
OF_LABELS = ("precision", "recall", "f1")
TERCILES = ("head", "middle", "tail")
SCHEMA = {
    "metric": pl.String,
    "k": pl.Int64,
    "by": pl.String,
    "segment": pl.String,
    "n": pl.Int64,
    "seed": pl.Int64,
    "value": pl.Float64,
    "samples": pl.List(pl.Float32),
}


@dataclass(frozen=True)
class Segment:
    """Some of the sets, or some of the labels.

    Attributes:
        by: what divides them.
        name: of this part.
        sets: bool [n].
        labels: bool [c].
    """

    by: str
    name: str
    sets: np.ndarray
    labels: np.ndarray


def figures(
    scores: list[np.ndarray],
    truth: np.ndarray,
    thresholds: list[float],
    seeds: list[int],
    labels: list[str],
    segments: list[Segment],
    settings: "EvaluateSettings",
) -> pl.DataFrame:
    """Every figure of a head. A set without a label says nothing of a ranking and is left out.

    Args:
        scores: float [n, c], one a seed.
        truth: bool [n, c].
        thresholds: one a seed, for the figures that are not at k.
        seeds: which ones they are.
        labels: the labels' names.
        segments: the parts that have figures of their own.
        settings: which k, and how many resamples.

    Returns:
        One row a figure, segment and seed, columns as in SCHEMA: `by` is "all", a segment's, or "label"; `n` is how
        many sets there are, of a label how many have it; `samples` are the values on resamples of the users, the same
        resamples for every head that is scored on these sets.
    """
    labelled = truth.any(1)
    truth, scores = truth[labelled], [own[labelled] for own in scores]
    weights = samples_of(len(truth), settings)
    rows = []
    for seed, own, threshold in zip(seeds, scores, thresholds):
        parts = [*_overall(own, truth, threshold, weights, settings.ks)]
        for segment in segments:
            parts += _segment(own, truth, threshold, weights, segment, segment.sets[labelled])
        parts += _labels(own, truth, threshold, weights, labels)
        rows += [{**part, "seed": seed, "value": values[0], "samples": values[1:]} for part, values in parts]
    return pl.DataFrame(rows, schema=SCHEMA)


def samples_of(sets: int, settings: "EvaluateSettings") -> np.ndarray:
    """How often each set counts, float32 [1 + t, n]: once each, then as the resamples have it.

    The same for every head and backbone that is scored on as many sets, so that differences are paired.
    """
    return np.vstack([np.ones(sets, np.float32), statistics.resample(sets, settings.resamples, seed=0)])


def measure(
    names: tuple[str, ...], scores: np.ndarray, truth: np.ndarray, threshold: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Some of OVERALL: float [n, c], bool [n, c] and float [t, n] to float64 [t] each."""
    predicted = scores >= threshold
    found = {
        "micro_f1": lambda: metrics.micro_f1(predicted, truth, weights),
        "macro_f1": lambda: metrics.macro_f1(predicted, truth, weights),
        "micro_ap": lambda: metrics.micro_ap(scores, truth, weights),
        "macro_ap": lambda: metrics.macro_ap(scores, truth, weights),
    }
    return {name: found[name]() for name in names}


def main_figures(figures: pl.DataFrame) -> dict[str, float]:
    """Means over seeds of what is not about a segment: those of OVERALL, and F1 at k."""
    shown = figures.filter(pl.col("by") == "all", pl.col("metric").is_in([*OVERALL, "f1"]))
    means = shown.group_by("metric", "k", maintain_order=True).agg(pl.col("value").mean().round(6))
    return {metric if k is None else f"{metric}@{k}": value for metric, k, value in means.iter_rows()}


def segments(images: np.ndarray, unseen: np.ndarray, truth: np.ndarray, frequency: np.ndarray) -> list[Segment]:
    """The parts that the tables show.

    Args:
        images: how many a set has, int [n].
        unseen: the share of a set's images that no training set has, float [n].
        truth: bool [n, c].
        frequency: how many training sets have each label, [c].
    """
    every = np.ones(truth.shape[1], bool)
    found = []
    for by, counts in (("images", images), ("labels", truth.sum(1))):
        octaves = np.log2(np.maximum(counts, 1)).astype(int)
        found += [Segment(by, _octave(octave, counts.max()), octaves == octave, every) for octave in np.unique(octaves)]
    for name, sets in (
        ("none", unseen == 0),
        ("less than half", (unseen > 0) & (unseen < 0.5)),
        ("half or more", (unseen >= 0.5) & (unseen < 1)),
        ("all", unseen == 1),
    ):
        found.append(Segment("unseen", name, sets, every))
    thirds = np.array_split(np.argsort(-frequency, kind="stable"), len(TERCILES))
    places = np.arange(truth.shape[1])
    of_labels = [
        Segment("frequency", name, np.ones(len(truth), bool), np.isin(places, own))
        for name, own in zip(TERCILES, thirds)
    ]
    return [part for part in [*found, *of_labels] if part.sets.any() and part.labels.any()]


def _octave(octave: int, most: int) -> str:
    """1, 2-3, 4-7, ... up to the greatest count: parts double, for a second image says more than a ninth."""
    first, last = 2**octave, min(2 ** (octave + 1) - 1, most)
    return f"{first}-{last}" if last > first else str(first)


Part = tuple[dict, np.ndarray]


def _overall(
    scores: np.ndarray, truth: np.ndarray, threshold: float, weights: np.ndarray, ks: list[int]
) -> Iterator[Part]:
    """Figures of all sets."""
    place = {"by": "all", "segment": "", "n": len(truth)}
    for name, values in measure(OVERALL, scores, truth, threshold, weights).items():
        yield {"metric": name, "k": None, **place}, values
    for k in ks:
        for name, of_sets in metrics.at_k(scores, truth, k).items():
            yield {"metric": name, "k": k, **place}, weights @ of_sets / weights.sum(1)


def _segment(
    scores: np.ndarray, truth: np.ndarray, threshold: float, weights: np.ndarray, segment: Segment, sets: np.ndarray
) -> Iterator[Part]:
    """Figures of some sets and labels."""
    place = {"k": None, "by": segment.by, "segment": segment.name, "n": int(sets.sum())}
    cells = np.ix_(sets, segment.labels)
    for name, values in measure(OF_SEGMENTS, scores[cells], truth[cells], threshold, weights[:, sets]).items():
        yield {"metric": name, **place}, values


def _labels(
    scores: np.ndarray, truth: np.ndarray, threshold: float, weights: np.ndarray, names: list[str]
) -> Iterator[Part]:
    """Precision, recall and F1 of each label."""
    of_labels = metrics.of_labels(scores >= threshold, truth, weights)
    for label, (segment, positives) in enumerate(zip(names, truth.sum(0))):
        place = {"k": None, "by": "label", "segment": segment, "n": int(positives)}
        for name in OF_LABELS:
            yield {"metric": name, **place}, of_labels[name][:, label]


def per_set(scores: np.ndarray, truth: np.ndarray, threshold: float, seed: int, ks: list[int]) -> pl.DataFrame:
    """One row a set, for one seed: every figure at k, the labels predicted, and the best labels with their scores."""
    best = metrics.ranking(scores)[:, : max(ks)]
    at_k = {f"{name}@{k}": values for k in ks for name, values in metrics.at_k(scores, truth, k).items()}
    labels = pl.List(pl.UInt16)
    return pl.DataFrame(
        {
            "seed": np.full(len(scores), seed),
            **at_k,
            "predicted": pl.Series([np.flatnonzero(row).tolist() for row in scores >= threshold], dtype=labels),
            "best": pl.Series(best.tolist(), dtype=labels),
            "best_scores": pl.Series(np.take_along_axis(scores, best, 1).tolist(), dtype=pl.List(pl.Float32)),
        }
    )
