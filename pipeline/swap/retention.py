"""What trained heads keep when they are given another backbone's vectors."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import product

import numpy as np

from pipeline.core.progress import Counter
from pipeline.metrics.bootstrap import estimate
from pipeline.metrics.selection import best_first
from pipeline.swap.adapters import Adapter
from pipeline.swap.answers import PairedSets, Scored, Values, adapted, answers
from pipeline.training.checkpoint import TrainedHead

METRICS = ("micro_ap", "micro_f1")
DECIMALS = 6


def compare(
    heads: Mapping[str, TrainedHead],
    sets: PairedSets,
    adapters: Sequence[Adapter],
    *,
    retrained: Mapping[str, TrainedHead],
    progress: Counter,
) -> dict[str, dict]:
    """Some heads' values with their old backbone and with a new one: what cache/swap has under "heads".

    Args:
        heads: trained on the old backbone, by name.
        sets: what they are asked about.
        adapters: from the new backbone to the old.
        retrained: heads trained on the new one, by name; some may be missing.
        progress: counts answers.

    Returns:
        JSON values by name; `unadapted` is None where the dims differ; `obstacle` says why no adapter can be merged.
    """
    retrained = {name: retrained[name] for name in heads if name in retrained}
    unadapted = heads if sets.same_dim else {}
    mapped = [(heads, adapted(sets.new, adapter)) for adapter in adapters]
    asked = [(heads, sets.old), (retrained, sets.new), (unadapted, sets.new), *mapped]
    with closing(answers(asked, sets, progress)) as found:
        stay = {name: next(found) for name in heads}
        fresh, plain = ({name: next(found).values for name in some} for some in (retrained, unadapted))
        kept: dict[str, list[dict]] = {name: [] for name in heads}
        for adapter, (name, rows) in product(adapters, kept.items()):
            rows.append(_kept(stay[name], next(found), sets, adapter=adapter, fresh=fresh.get(name)))
    return {
        name: {
            "obstacle": head.heads[0].spec.obstacle(),
            "stay": _entries(stay[name].values),
            "unadapted": _entries(plain.get(name)),
            "retrained": _entries(fresh.get(name)),
            "adapted": kept[name],
        }
        for name, head in heads.items()
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


def _kept(stay: Scored, after: Scored, sets: PairedSets, *, adapter: Adapter, fresh: Values | None) -> dict:
    """What a head keeps with one adapter: values, and how many of its answers stay."""
    row: dict = {"adapter": adapter.kind, "pairs": adapter.pairs}
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


def _entries(values: Values | None) -> dict | None:
    return values and {name: entry(values[name]) for name in METRICS}
