"""Scores of a split to metric values: of all sets, of some of them, of some labels; for every seed and resample."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from pipeline.metrics import calibration, ranking, selection
from pipeline.metrics.at_k import at_k
from pipeline.metrics.bootstrap import sample_weights
from pipeline.metrics.schema import SCHEMA

OF_LABELS = ("precision", "recall", "f1")
TERCILES = ("head", "middle", "tail")


@dataclass(frozen=True)
class Predictions:
    """What a head said of some sets, and what is true.

    Attributes:
        scores: float [n, c].
        truth: bool [n, c].
        threshold: of the score, from validation.
        uncalibrated: the scores before calibration, float [n, c]; None for what is not calibrated.
    """

    scores: np.ndarray
    truth: np.ndarray
    threshold: float
    uncalibrated: np.ndarray | None = None

    @cached_property
    def predicted(self) -> np.ndarray:
        """Which labels are predicted: bool [n, c].

        >>> Predictions(np.array([[0.9, 0.4]]), np.array([[True, True]]), threshold=0.5).predicted
        array([[ True, False]])
        """
        return self.scores >= self.threshold

    def part(self, sets: np.ndarray, labels: np.ndarray) -> "Predictions":
        """Those of some sets and labels: bool [n] and bool [c].

        >>> whole = Predictions(np.array([[0.9, 0.4], [0.2, 0.3]]), np.eye(2) > 0, threshold=0.5)
        >>> whole.part(sets=np.array([False, True]), labels=np.array([True, True])).scores
        array([[0.2, 0.3]])
        """
        cells = np.ix_(sets, labels)
        uncalibrated = None if self.uncalibrated is None else self.uncalibrated[cells]
        return Predictions(self.scores[cells], self.truth[cells], self.threshold, uncalibrated)


@dataclass(frozen=True)
class Metric:
    """One metric of a whole split.

    Attributes:
        name: in files.
        title: in tables.
        of: its values: predictions and weights, float [t, n], to float64 [t].
        by_segment: whether it is also measured of some of the sets and labels.
    """

    name: str
    title: str
    of: Callable[[Predictions, np.ndarray], np.ndarray]
    by_segment: bool = False


# What the tables show, in their order; a new metric is one entry more.
OVERALL = (
    Metric("micro_f1", "micro F1", lambda p, w: selection.micro_f1(p.predicted, p.truth, w), by_segment=True),
    Metric("macro_f1", "macro F1", lambda p, w: ranking.macro_f1(p.predicted, p.truth, w)),
    Metric("micro_ap", "micro AP", lambda p, w: selection.micro_ap(p.scores, p.truth, w), by_segment=True),
    Metric("macro_ap", "macro AP", lambda p, w: ranking.macro_ap(p.scores, p.truth, w)),
)


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is measured, the same for every head.

    Attributes:
        labels: the labels' names.
        segments: the parts that have values of their own.
        ks: how many labels are recommended.
        resamples: bootstrap resamples of the users.
    """

    labels: Sequence[str]
    segments: Sequence[Segment] = ()
    ks: Sequence[int]
    resamples: int


def measure(predictions: Sequence[Predictions], seeds: Sequence[int], protocol: Protocol) -> pl.DataFrame:
    """Every metric value of a head. A set without a label says nothing of a ranking and is left out.

    Args:
        predictions: on the same sets, one a seed.
        seeds: which ones they are.
        protocol: what is measured.

    Returns:
        One row a metric, segment and seed, columns as in SCHEMA: `by` is "all", a segment's, or "label"; of what is
        calibrated also "calibration" and "reliability before" and "after", segments of which are bins of probability.
        `n` is how many sets there are, of a label how many have it, of a bin how many pairs of a set and a label;
        `samples` are the values on resamples of the users, the same for every head that is scored on these sets.

    >>> predictions = Predictions(np.array([[0.9, 0.2], [0.4, 0.6]]), np.array([[True, False], [True, True]]), 0.5)
    >>> protocol = Protocol(labels=["hat", "shoe"], ks=[1], resamples=100)
    >>> measure([predictions], [0], protocol).filter(by="all").select("metric", "n", "value").rows()[:2]
    [('micro_f1', 2, 0.8), ('macro_f1', 2, 0.8333333333333333)]
    """
    labelled = predictions[0].truth.sum(1) > 0
    every_label = np.ones(predictions[0].truth.shape[1], bool)
    weights = sample_weights(int(labelled.sum()), protocol.resamples)
    rows = []
    for seed, everything in zip(seeds, predictions, strict=True):
        part = everything.part(labelled, every_label)
        values = [*_overall(part, weights, protocol.ks)]
        for segment in protocol.segments:
            values += _segment(part, weights, segment, sets=segment.sets[labelled])
        values += [*_labels(part, weights, protocol.labels), *_calibration(part, weights)]
        rows += [{**key, "seed": seed, "value": sampled[0], "samples": sampled[1:]} for key, sampled in values]
    return pl.DataFrame(rows, schema=SCHEMA)


def measure_seed(predictions: Predictions, seed: int, protocol: Protocol) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One seed's part of `measure`, and its values set by set, as `per_set` has them."""
    return measure([predictions], [seed], protocol), per_set(predictions, seed, protocol.ks)


def main_values(values: pl.DataFrame) -> dict[str, float]:
    """Means over seeds of what is not about a segment: those of OVERALL, and F1 at k; of a frame of SCHEMA.

    >>> key = {"metric": "f1", "k": 5, "by": "all", "segment": "", "n": 2, "samples": []}
    >>> rows = [{**key, "seed": 0, "value": 0.4}, {**key, "seed": 1, "value": 0.6}]
    >>> main_values(pl.DataFrame(rows, schema=SCHEMA))
    {'f1@5': 0.5}
    """
    shown = values.filter(pl.col("by") == "all", pl.col("metric").is_in([*(metric.name for metric in OVERALL), "f1"]))
    means = shown.group_by("metric", "k", maintain_order=True).agg(pl.col("value").mean().round(6))
    return {metric if k is None else f"{metric}@{k}": value for metric, k, value in means.iter_rows()}


def segments(images: np.ndarray, unseen: np.ndarray, truth: np.ndarray, *, frequency: np.ndarray) -> list[Segment]:
    """The parts that the tables show: by how many images and labels a set has, by new images, by a label's frequency.

    Args:
        images: how many a set has, int [n].
        unseen: the share of a set's images that no training set has, float [n].
        truth: bool [n, c].
        frequency: how many training sets have each label, [c].

    >>> parts = segments(np.array([1, 3]), np.array([0.0, 0.5]), np.array([[1, 0], [1, 1]]) > 0, frequency=np.arange(2))
    >>> ", ".join(f"{part.by} {part.name}" for part in parts)
    'images 1, images 2-3, labels 1, labels 2, unseen none, unseen half or more, frequency head, frequency middle'
    """
    every_set, every_label = np.ones(len(truth), bool), np.ones(truth.shape[1], bool)
    parts = []
    for by, counts in (("images", images), ("labels", truth.sum(1))):
        octaves = np.log2(np.maximum(counts, 1)).astype(int)
        for octave in np.unique(octaves):
            name = _octave(octave, counts.max())
            parts.append(Segment(by=by, name=name, sets=octaves == octave, labels=every_label))
    for name, sets in (
        ("none", unseen == 0),
        ("less than half", (unseen > 0) & (unseen < 0.5)),
        ("half or more", (unseen >= 0.5) & (unseen < 1)),
        ("all", unseen == 1),
    ):
        parts.append(Segment(by="unseen", name=name, sets=sets, labels=every_label))
    thirds = np.array_split(np.argsort(-frequency, kind="stable"), len(TERCILES))
    for name, third in zip(TERCILES, thirds, strict=True):
        labels = np.isin(np.arange(len(frequency)), third)
        parts.append(Segment(by="frequency", name=name, sets=every_set, labels=labels))
    return [part for part in parts if part.sets.any() and part.labels.any()]


def _octave(octave: int, most: int) -> str:
    """1, 2-3, 4-7, ... up to the greatest count: parts double, for a second image says more than a ninth."""
    first, last = 2**octave, min(2 ** (octave + 1) - 1, most)
    return f"{first}-{last}" if last > first else str(first)


Value = tuple[dict, np.ndarray]  # which metric of which part, and float64 [1 + t]


def _overall(predictions: Predictions, weights: np.ndarray, ks: Sequence[int]) -> Iterator[Value]:
    """Values of all sets."""
    key = {"by": "all", "segment": "", "n": len(predictions.truth)}
    for metric in OVERALL:
        yield {"metric": metric.name, "k": None, **key}, metric.of(predictions, weights)
    for k in ks:
        for name, of_sets in at_k(predictions.scores, predictions.truth, k).items():
            yield {"metric": name, "k": k, **key}, weights @ of_sets / weights.sum(1)


def _segment(predictions: Predictions, weights: np.ndarray, segment: Segment, *, sets: np.ndarray) -> Iterator[Value]:
    """Values of a segment; `sets`, bool [n], are its sets among those that have a label."""
    key = {"k": None, "by": segment.by, "segment": segment.name, "n": int(sets.sum())}
    part, part_weights = predictions.part(sets, segment.labels), weights[:, sets]
    for metric in OVERALL:
        if metric.by_segment or not segment.labels.all():  # a mean over labels says most where there are few
            yield {"metric": metric.name, **key}, metric.of(part, part_weights)


def _labels(predictions: Predictions, weights: np.ndarray, names: Sequence[str]) -> Iterator[Value]:
    """Precision, recall and F1 of each label."""
    of_labels = ranking.of_labels(predictions.predicted, predictions.truth, weights)
    for label, (segment, positives) in enumerate(zip(names, predictions.truth.sum(0), strict=True)):
        key = {"k": None, "by": "label", "segment": segment, "n": int(positives)}
        for name in OF_LABELS:
            yield {"metric": name, **key}, of_labels[name][:, label]


def _calibration(predictions: Predictions, weights: np.ndarray) -> Iterator[Value]:
    """How far probabilities are from what is true, before and after calibration; nothing of what has none."""
    if predictions.uncalibrated is None:
        return
    key = {"k": None, "by": "calibration", "n": len(predictions.truth)}
    for when, scores in (("before", predictions.uncalibrated), ("after", predictions.scores)):
        errors = calibration.expected_calibration_error(scores, predictions.truth, weights)
        yield {"metric": "ece", **key, "segment": when}, calibration.without_excess(errors)
        for part in calibration.reliability(scores, predictions.truth, weights):
            of_bin = {"k": None, "by": f"reliability {when}", "segment": part.name, "n": part.n}
            yield {"metric": "probability", **of_bin}, part.probability
            yield {"metric": "share_true", **of_bin}, part.share_true
    yield {"metric": "ece", **key, "segment": "by chance"}, calibration.error_by_chance(predictions.scores, weights)


def per_set(predictions: Predictions, seed: int, ks: Sequence[int]) -> pl.DataFrame:
    """One row a set, for one seed: every metric at k, the labels predicted, and the best labels with their scores.

    >>> predictions = Predictions(np.array([[0.9, 0.2, 0.6]]), np.array([[True, False, False]]), threshold=0.5)
    >>> per_set(predictions, seed=3, ks=[1, 2]).select("seed", "f1@1", "predicted", "best", "best_scores").rows()
    [(3, 1.0, [0, 2], [0, 2], [0.8999999761581421, 0.6000000238418579])]
    """
    scores, truth = predictions.scores, predictions.truth
    best = selection.best_first(scores)[:, : max(ks)]
    columns = {f"{name}@{k}": values for k in ks for name, values in at_k(scores, truth, k).items()}
    labels = pl.List(pl.UInt16)
    return pl.DataFrame(
        {
            "seed": np.full(len(scores), seed),
            **columns,
            "predicted": pl.Series([np.flatnonzero(row).tolist() for row in predictions.predicted], dtype=labels),
            "best": pl.Series(best.tolist(), dtype=labels),
            "best_scores": pl.Series(np.take_along_axis(scores, best, 1).tolist(), dtype=pl.List(pl.Float32)),
        }
    )
