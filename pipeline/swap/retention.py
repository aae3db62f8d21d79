"""What trained heads keep when they are given another backbone's vectors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import batches, metrics, runs, statistics, summary
from pipeline.adapters import Adapter
from pipeline.batches import SetData
from pipeline.embeddings import Embeddings
from pipeline.errors import StageError
from pipeline.heads import HeadSpec
from pipeline.heads.classifier import SetClassifier
from pipeline.heads.spec import obstacle

METRICS = ("micro_ap", "micro_f1")
DECIMALS = 6

Scores = list[np.ndarray]  # one float [n, c] a seed
Samples = dict[str, np.ndarray]  # a figure of each seed in every resample, all users first: float64 [seeds, 1 + t]


@dataclass(frozen=True)
class Side:
    """One of the two backbones.

    Attributes:
        alias: its name.
        store: the file of its vectors.
        heads: folders of heads on them, by name; those that were never trained may be missing.
    """

    alias: str
    store: Path
    heads: dict[str, Path]

    def trained(self, store: Embeddings, labels: list[str]) -> dict[str, "Trained"]:
        """Its trained heads.

        Raises:
            StoreError, StageError: when one was trained on other vectors or labels, or is damaged.
        """
        return {name: Trained.load(path, store, labels) for name, path in self.heads.items() if path.is_dir()}


@dataclass(frozen=True)
class Trained:
    """A head as it was trained: what is known of it, and the head of each seed."""

    run: runs.Run
    heads: list[SetClassifier]

    @classmethod
    def load(cls, folder: Path, store: Embeddings, labels: list[str]) -> "Trained":
        """Reads a head, for vectors of one store and a list of labels; Raises as `Side.trained`."""
        run = runs.load(folder)
        runs.require_identity(folder, run, store.identity)
        if run.labels != labels:
            raise StageError(f"{folder} was trained on other labels: train it again, or run dvc repro")
        return cls(run, [runs.load_head(folder, run, result.seed) for result in run.seeds])

    @property
    def spec(self) -> HeadSpec:
        """The head's parts."""
        return HeadSpec.model_validate(self.run.spec)

    @property
    def thresholds(self) -> list[float]:
        """One a seed, from validation."""
        return [result.threshold for result in self.run.seeds]

    def scores(self, data: SetData) -> Scores:
        """Probabilities by each seed."""
        return [batches.scores(head, data) for head in self.heads]


@dataclass(frozen=True)
class Test:
    """What heads are scored on.

    Attributes:
        old: test sets with the old backbone's vectors.
        new: with the new one's.
        floor: popularity's figures.
        samples: float32 [1 + t, n]: ones, then how often each set is in each bootstrap sample; the same for every head
            and backbone, so that differences are paired.
        k: how many best labels are compared.
    """

    old: SetData
    new: SetData
    floor: Samples
    samples: np.ndarray
    k: int


def adapted(data: SetData, adapter: Adapter) -> SetData:
    """The same sets, with an adapter's vectors; padding stays zeros."""
    vectors = np.zeros((len(data.vectors), adapter.matrix.shape[1]), np.float32)
    vectors[:-1] = adapter.apply(data.vectors[:-1].numpy())
    return data.with_vectors(vectors)


def figures(scores: Scores, truth: np.ndarray, thresholds: list[float], samples: np.ndarray) -> Samples:
    """Every figure of each seed; arguments as `metrics` has them."""
    of_seeds = [summary.measure(METRICS, own, truth, threshold, samples) for own, threshold in zip(scores, thresholds)]
    return {name: np.stack([own[name] for own in of_seeds]) for name in METRICS}


def compare(head: Trained, retrained: Trained | None, adapters: list[Adapter], test: Test) -> dict:
    """A head's figures with its own backbone and with another one: what reports/swap has under "heads".

    Args:
        head: trained on the old backbone.
        retrained: the head of the same name trained on the new one; None where there is none.
        adapters: from the new to the old.
        test: the sets.
    """
    truth = test.old.truth()

    def of(trained: Trained, data: SetData) -> tuple[Scores, Samples]:
        scores = trained.scores(data)
        return scores, figures(scores, truth, trained.thresholds, test.samples)

    before, stay = of(head, test.old)
    fresh = of(retrained, test.new)[1] if retrained else None
    unadapted = of(head, test.new)[1] if test.old.vectors.shape == test.new.vectors.shape else None
    rows = []
    for adapter in adapters:
        after, found = of(head, adapted(test.new, adapter))
        row: dict = {"adapter": adapter.kind, "pairs": adapter.pairs}
        for name in METRICS:
            row[name] = {
                "adapted": entry(found[name]),
                "retention": retention(found[name], fresh[name], test.floor[name]) if fresh else None,
                "gain": entry(found[name] - stay[name]),
            }
        flips = [_negative_flips(*own, truth) for own in zip(before, after, head.thresholds)]
        overlap = [_overlap(*own, test.k) for own in zip(before, after)]
        row["negative_flips"] = entry(np.stack([over_sets(own, test.samples) for own in flips]))
        row["overlap"] = entry(np.stack([over_sets(own, test.samples) for own in overlap]))
        rows.append(row)
    return {
        "obstacle": obstacle(head.spec),
        "stay": _entries(stay),
        "unadapted": _entries(unadapted),
        "retrained": _entries(fresh),
        "adapted": rows,
    }


def entry(values: np.ndarray) -> dict:
    """A figure in every sample, float64 [1 + t] or [seeds, 1 + t], as it is reported."""
    found = statistics.estimate(np.atleast_2d(values))
    bounds = (found.low, found.high)
    return {"value": round(found.value, DECIMALS), "interval": [round(bound, DECIMALS) for bound in bounds]}


def over_sets(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Means of a figure that each set has, float [n], in every sample: float64 [1 + t]."""
    return samples @ values / samples.sum(1)


def retention(found: np.ndarray, fresh: np.ndarray, floor: np.ndarray) -> dict | None:
    """(adapted - floor) / (retrained - floor), of each seed that was adapted against the mean of those retrained.

    None where retraining is no better than popularity.
    """
    above = fresh.mean(0) - floor.mean(0)
    if (above <= 0).any():
        return None
    return entry((found - floor.mean(0)) / above)


def _entries(found: Samples | None) -> dict | None:
    return {name: entry(found[name]) for name in METRICS} if found else None


def _negative_flips(before: np.ndarray, after: np.ndarray, threshold: float, truth: np.ndarray) -> np.ndarray:
    """Share of a set's labels that were decided rightly and are no more: float64 [n] (S. Yan et al., 2021)."""
    was, still = ((scores >= threshold) == truth for scores in (before, after))
    return (was & ~still).mean(1)


def _overlap(before: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """Share of each set's k best labels that stay among them: float64 [n]."""
    k = min(k, before.shape[1])
    one, other = (metrics.ranking(scores)[:, :k] for scores in (before, after))
    return (one[:, :, None] == other[:, None, :]).any(2).mean(1)
