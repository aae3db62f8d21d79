"""What trained heads keep when they are given another backbone's vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from pipeline.metrics.bootstrap import estimate
from pipeline.metrics.selection import best_first, micro_of_seeds
from pipeline.swap.adapters import Adapter
from pipeline.training.checkpoint import TrainedHead
from pipeline.training.dataset import Dataset

METRICS = ("micro_ap", "micro_f1")
DECIMALS = 6

Values = dict[str, np.ndarray]  # a metric of each seed in every sample, all users first: float64 [seeds, 1 + t]


@dataclass(frozen=True)
class PairedSets:
    """The sets that heads are compared on, with both backbones' vectors.

    Attributes:
        old: the sets with the old backbone's vectors.
        new: the same sets with the new one's.
        floor: popularity's metric values.
        samples: float32 [1 + t, n]: ones, then how often each set is in each bootstrap sample; the same for every head
            and backbone, so that differences are paired.
        k: how many best labels are compared.
    """

    old: Dataset
    new: Dataset
    floor: Values
    samples: np.ndarray
    k: int

    @property
    def truth(self) -> np.ndarray:
        """Labels as bool [n, c]."""
        return self.old.truth()

    @property
    def same_dim(self) -> bool:
        """Whether the new vectors fit into old heads without an adapter, by their dim alone."""
        return self.old.vectors.dim == self.new.vectors.dim


@dataclass(frozen=True)
class Scored:
    """A head's answers to some sets.

    Attributes:
        scores: float32 [n, c], one a seed.
        predicted: the labels that it decides for, bool [n, c], one a seed.
        values: its metric values.
    """

    scores: list[np.ndarray]
    predicted: list[np.ndarray]
    values: Values

    @classmethod
    def of(cls, head: TrainedHead, data: Dataset, sets: PairedSets) -> Self:
        """A head's answers to the compared sets; `data` has them with the vectors that it gets."""
        scores = head.scores(data)
        predicted = [seed >= threshold for seed, threshold in zip(scores, head.thresholds, strict=True)]
        values = micro_of_seeds(scores, sets.truth, head.thresholds, weights=sets.samples)
        return cls(scores, predicted, values)


def adapted(data: Dataset, adapter: Adapter) -> Dataset:
    """The same sets with their vectors as an adapter maps them; padding stays zeros.

    >>> from pipeline.training.vectors import HeldVectors
    >>> vectors = HeldVectors(torch.tensor([[1.0], [2.0], [0.0]]))
    >>> arrays = {"images": torch.arange(2), "vectors": vectors, "y": torch.ones(1, 1)}
    >>> data = Dataset(set_ids=["user"], rows=torch.tensor([[0, 1]]), mask=torch.tensor([[True, True]]), **arrays)
    >>> adapter = Adapter("scaling", np.float32([[3]]), np.float32([1]), {}, 64, {}, {}, "")
    >>> adapted(data, adapter).batch(slice(None)).x.tolist()
    [[[4.0], [7.0]]]
    """
    return data.mapped(lambda vectors: torch.from_numpy(adapter.apply(vectors.numpy())))


def compare(
    head: TrainedHead, sets: PairedSets, adapters: Sequence[Adapter], *, retrained: TrainedHead | None = None
) -> dict:
    """A head's values with its old backbone and with a new one: what cache/swap has under "heads".

    Args:
        head: trained on the old backbone.
        sets: what it is asked about.
        adapters: from the new backbone to the old.
        retrained: the head of the same name trained on the new one; None where there is none.

    Returns:
        JSON values; under `unadapted`, None where the dims differ; under `obstacle`, why no adapter can be merged.

    >>> from pipeline.training.vectors import HeldVectors
    >>> from types import SimpleNamespace
    >>> from pipeline.heads.presets import preset
    >>> arrays = {"images": torch.arange(1), "mask": torch.tensor([[True]]), "y": torch.tensor([[1, 0]])}
    >>> vectors, rows = HeldVectors(torch.tensor([[0.9, 0.1], [0, 0]])), torch.tensor([[0]])
    >>> data = Dataset(set_ids=["user"], rows=rows, vectors=vectors, **arrays)
    >>> scores = lambda data: [data.vectors.take(torch.tensor([0])).numpy()]
    >>> head = SimpleNamespace(heads=[SimpleNamespace(spec=preset("average"))], thresholds=[0.5], scores=scores)
    >>> sets = PairedSets(data, data, dict.fromkeys(METRICS, np.zeros((1, 3))), samples=np.ones((3, 1)), k=1)
    >>> exchange = Adapter("ridge", np.float32([[0, 1], [1, 0]]), np.float32([0, 0]), {}, 64, {}, {}, "")
    >>> compare(head, sets, [exchange])["adapted"][0]["negative_flips"]
    {'value': 1.0, 'interval': [1.0, 1.0]}
    """
    stay = Scored.of(head, sets.old, sets)
    fresh = Scored.of(retrained, sets.new, sets).values if retrained else None
    return {
        "obstacle": head.heads[0].spec.obstacle(),
        "stay": _entries(stay.values),
        "unadapted": _entries(Scored.of(head, sets.new, sets).values) if sets.same_dim else None,
        "retrained": _entries(fresh) if fresh else None,
        "adapted": [
            {"adapter": adapter.kind, "pairs": adapter.pairs}
            | _kept(stay, Scored.of(head, adapted(sets.new, adapter), sets), sets, fresh=fresh)
            for adapter in adapters
        ],
    }


def overview(content: dict) -> str:
    """What heads have with the adapter that was chosen, in lines for people; `content` as `visagg swap` writes it.

    >>> values = {"adapted": {"value": 0.8}, "retention": {"value": 0.9}}
    >>> adapted = {"adapter": "ridge", "pairs": 64, "micro_ap": values}
    >>> content = {"old": "a", "new": "b", "best": "ridge", "training_images": 64, "test_users": 9}
    >>> heads = {"average": {"stay": {"micro_ap": {"value": 0.85}}, "adapted": [adapted]}}
    >>> print(overview({**content, "heads": heads}))
    swap a b: ridge from 64 pairs; micro AP on 9 test users, with a's vectors and with b's adapted ones:
         average: 0.850, 0.800; retention 0.90
    """
    said = f"micro AP on {content['test_users']:,} test users, with {content['old']}'s vectors and with"
    lines = [
        f"swap {content['old']} {content['new']}: {content['best']} from {content['training_images']:,} pairs; "
        f"{said} {content['new']}'s adapted ones:"
    ]
    for name, head in content["heads"].items():
        chosen = (content["best"], content["training_images"])
        [row] = [row["micro_ap"] for row in head["adapted"] if (row["adapter"], row["pairs"]) == chosen]
        kept = f"; retention {row['retention']['value']:.2f}" if row["retention"] else ""
        stay = head["stay"]["micro_ap"]["value"]
        lines.append(f"{name:>12}: {stay:.3f}, {row['adapted']['value']:.3f}{kept}")
    return "\n".join(lines)


def entry(values: np.ndarray) -> dict:
    """A metric in every sample, float64 [1 + t] or [seeds, 1 + t], as it is saved.

    >>> entry(np.array([0.5, 0.5, 0.5]))
    {'value': 0.5, 'interval': [0.5, 0.5]}
    """
    estimated = estimate(np.atleast_2d(values))
    bounds = (estimated.low, estimated.high)
    return {"value": round(estimated.value, DECIMALS), "interval": [round(bound, DECIMALS) for bound in bounds]}


def sample_means(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Means of a number that each set (or image) has, float [n], in every sample, float [t, n]: float64 [t].

    >>> sample_means(np.array([1.0, 3.0]), np.array([[1, 1], [0, 2]]))
    array([2., 3.])
    """
    return samples @ values / samples.sum(1)


def retention(kept: np.ndarray, fresh: np.ndarray, floor: np.ndarray) -> dict | None:
    """(adapted - floor) / (retrained - floor), of each adapted seed against the mean of those retrained, as an entry.

    None where retraining is no better than popularity.

    Args:
        kept: a metric of the adapted head, float64 [seeds, 1 + t].
        fresh: the same of the head that was trained on the new backbone; its seeds may be others.
        floor: the same of popularity.

    >>> adapted, retrained, popularity = (np.full((1, 3), value) for value in (0.7, 0.8, 0.3))
    >>> retention(adapted, retrained, popularity)["value"]
    0.8
    """
    above = fresh.mean(0) - floor.mean(0)
    if (above <= 0).any():
        return None
    return entry((kept - floor.mean(0)) / above)


def negative_flips(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of each set's labels that were decided rightly and are no more (S. Yan et al., 2021).

    Args:
        before: the labels that the head decided for, bool [n, c].
        after: the same with an adapter.
        truth: bool [n, c].

    Returns:
        float64 [n].

    >>> negative_flips(np.array([[True, True]]), np.array([[True, False]]), truth=np.array([[True, True]]))
    array([0.5])
    """
    return ((before == truth) & (after != truth)).mean(1)


def overlap(before: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """Share of each set's k best labels that stay among them, by scores float [n, c]: float64 [n].

    >>> overlap(np.array([[0.9, 0.8, 0.1]]), np.array([[0.9, 0.1, 0.8]]), k=2)
    array([0.5])
    """
    k = min(k, before.shape[1])
    old, new = (best_first(scores)[:, :k] for scores in (before, after))
    return (old[:, :, None] == new[:, None, :]).any(2).mean(1)


def _kept(stay: Scored, after: Scored, sets: PairedSets, *, fresh: Values | None) -> dict:
    """What a head keeps with one adapter: values, and how many of its answers stay."""
    row: dict = {}
    for name in METRICS:
        row[name] = {
            "adapted": entry(after.values[name]),
            "retention": retention(after.values[name], fresh[name], sets.floor[name]) if fresh else None,
            "gain": entry(after.values[name] - stay.values[name]),
        }
    flips = [negative_flips(*seed, sets.truth) for seed in zip(stay.predicted, after.predicted, strict=True)]
    same = [overlap(*seed, sets.k) for seed in zip(stay.scores, after.scores, strict=True)]
    for name, seeds in (("negative_flips", flips), ("overlap", same)):
        row[name] = entry(np.stack([sample_means(values, sets.samples) for values in seeds]))
    return row


def _entries(values: Values) -> dict:
    return {name: entry(values[name]) for name in METRICS}
