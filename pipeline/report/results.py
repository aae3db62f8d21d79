"""What the heads did, read from the disk into one tidy frame, with every interval and every comparison."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from pipeline import layout, scores, statistics, swap_tables
from pipeline.errors import StageError
from pipeline.heads import PRESETS, PUBLISHED, HeadSpec

FLOOR = ("any", "popularity")
KEYS = ["metric", "k", "by", "segment"]
COMPARED_AT_K = ("f1",)

Pair = tuple[str, str]


@dataclass(frozen=True)
class Results:
    """Everything that the tables, the figures and the page show.

    Attributes:
        backbones: those declared, in order.
        heads: likewise.
        figures: one row a figure: backbone, head, metric, k, by, segment, n, seeds (how many), mean, low, high. `by` is
            "all", or what divides the sets or labels (`summary.segments`), or "label"; the floor's rows are of backbone
            "any" and head "popularity".
        comparisons: one row a test: backbone, head, against, metric, k, difference, low, high, p, adjusted, holds.
        history: one row an epoch of a kept run: backbone, head, seed, epoch, loss, micro_ap (on validation).
        training: by backbone and head, what tuning tried and chose.
        costs: one row a head: backbone, head, parameters, folded_parameters, milliseconds, folded_milliseconds,
            backbone_parameters.
        machine: where the times were measured, with the set's size; None where they were not.
        best: the best head on each backbone, by validation.
        reference: the best published head on each backbone, by validation.
        average: the head that is plain averaging; None where it is not compared.
        missing: declared pairs that have no figures.
        ablation: content of reports/ablation.json; None where there is none.
        swaps: contents of reports/swap.
        data: content of reports/data.json.
    """

    backbones: list[str]
    heads: list[str]
    figures: pl.DataFrame
    comparisons: pl.DataFrame
    history: pl.DataFrame
    training: dict[Pair, dict]
    costs: pl.DataFrame
    machine: dict | None
    best: dict[str, str]
    reference: dict[str, str]
    average: str | None
    missing: list[Pair]
    ablation: dict | None
    swaps: list[dict]
    data: dict

    def figure(self, pair: Pair, metric: str, k: int | None = None, by: str = "all", segment: str = "") -> dict | None:
        """One row of `figures`; None where there is none."""
        return self._rows.get((*pair, metric, k, by, segment))

    def seen(self) -> str:
        """How much of what is tested the heads may know by heart: one sentence."""
        share = self.data["sets"]["test"]["share_of_images_in_training"]
        if not share:
            return "No image of a test set is in a training set."
        part = f"{share:.0%}".replace("%", " %")
        return (
            f"Users are split, items are shared: {part} of the test sets' images are in training sets too; "
            "sets.new_items keeps some apart."
        )

    @cached_property
    def _rows(self) -> dict[tuple, dict]:
        return {tuple(row[key] for key in ("backbone", "head", *KEYS)): row for row in self.figures.to_dicts()}


def gather(backbones: list[str], heads: Mapping[str, HeadSpec]) -> Results:
    """Reads the results of the declared backbones and heads.

    Raises:
        StageError: when no pair has any, the data were never described, or a file is damaged.
    """
    data = read_json(layout.DATA_REPORT)
    if data is None:
        raise StageError(f"{layout.DATA_REPORT} is missing: run visagg sets, or dvc repro")
    pairs = [(backbone, head) for backbone in backbones for head in heads]
    folders = {FLOOR: layout.FLOOR_SCORES, **{pair: layout.scores(pair[0]) / pair[1] for pair in pairs}}
    values = {pair: _values(found) for pair, path in folders.items() if (found := scores.figures(path)) is not None}
    if not values.keys() - {FLOOR}:
        raise StageError("no declared backbone and head has figures: run visagg evaluate, or dvc repro")
    training = {pair: own for pair in values if (own := scores.training(folders[pair]))}
    best = {backbone: _best(backbone, list(heads), training) for backbone in backbones}
    published = [head for head, spec in heads.items() if spec in PUBLISHED.values()]
    reference = {backbone: _best(backbone, published, training) for backbone in backbones}
    average = next((head for head, spec in heads.items() if spec == PRESETS["average"]), None)
    references = {backbone: [reference[backbone], average] for backbone in backbones}
    costs, machine = _costs(pairs)
    return Results(
        backbones=backbones,
        heads=list(heads),
        figures=_estimates(values),
        comparisons=_comparisons(pairs, values, references),
        history=_history(training),
        training=training,
        costs=costs,
        machine=machine,
        best={backbone: head for backbone, head in best.items() if head},
        reference={backbone: head for backbone, head in reference.items() if head},
        average=average,
        missing=[pair for pair in pairs if pair not in values],
        ablation=read_json(layout.ABLATION),
        swaps=swap_tables.read(layout.SWAPS),
        data=data,
    )


@dataclass(frozen=True)
class Values:
    """A figure before it is summed up: how many sets, and float [seeds, 1 + resamples]."""

    n: int
    samples: np.ndarray


def _values(figures: pl.DataFrame) -> dict[tuple, Values]:
    """A head's figures by metric, k, by and segment."""
    grouped = figures.group_by(KEYS, maintain_order=True).agg("n", "value", "samples")
    return {
        tuple(row[key] for key in KEYS): Values(
            row["n"][0], np.column_stack([row["value"], np.array(row["samples"], np.float64)])
        )
        for row in grouped.iter_rows(named=True)
    }


def _estimates(values: dict[Pair, dict[tuple, Values]]) -> pl.DataFrame:
    """Each figure with its interval; all lie between 0 and 1."""
    rows = []
    for pair, figures in values.items():
        for key, own in figures.items():
            found = statistics.estimate(own.samples)
            bounds = (max(0.0, found.low), min(1.0, found.high))
            rows.append((*pair, *key, own.n, len(own.samples), found.value, *bounds))
    names = ["backbone", "head", *KEYS, "n", "seeds", "mean", "low", "high"]
    kinds = [pl.String, pl.String, pl.String, pl.Int64, pl.String, pl.String, pl.Int64, pl.Int64, *[pl.Float64] * 3]
    return pl.DataFrame(rows, dict(zip(names, kinds)), orient="row")


def _comparisons(
    pairs: list[Pair], values: dict[Pair, dict[tuple, Values]], references: dict[str, list[str | None]]
) -> pl.DataFrame:
    """Each head against averaging and the best published head of its backbone: one family of tests."""
    rows = []
    for backbone, head in pairs:
        for other in dict.fromkeys(references[backbone]):
            if other in (None, head) or not {(backbone, head), (backbone, other)} <= values.keys():
                continue
            theirs = values[backbone, other]
            for key, own in values[backbone, head].items():
                metric, k, by, _ = key
                if by == "all" and (metric in COMPARED_AT_K or k is None):
                    found = statistics.estimate(own.samples, theirs[key].samples)
                    bounds = (max(-1.0, found.low), min(1.0, found.high))
                    rows.append((backbone, head, other, metric, k, found.value, *bounds, found.p))
    names = ["backbone", "head", "against", "metric", "k", "difference", "low", "high", "p"]
    kinds = [*[pl.String] * 4, pl.Int64, *[pl.Float64] * 4]
    frame = pl.DataFrame(rows, dict(zip(names, kinds)), orient="row")
    adjusted = statistics.holm(frame["p"].to_numpy()) if len(frame) else np.zeros(0)
    return frame.with_columns(pl.Series("adjusted", adjusted)).with_columns(
        holds=pl.col("adjusted") < 1 - statistics.LEVEL
    )


def _best(backbone: str, heads: list[str], training: dict[Pair, dict]) -> str | None:
    """The head with the highest micro average precision on validation, mean over seeds."""
    known = [head for head in heads if (backbone, head) in training]
    quality = {head: np.mean([seed["micro_ap"] for seed in training[backbone, head]["seeds"]]) for head in known}
    return max(quality, key=quality.__getitem__, default=None)


def _history(training: dict[Pair, dict]) -> pl.DataFrame:
    names = {"backbone": pl.String, "head": pl.String, "seed": pl.Int64, "epoch": pl.Int64}
    rows = [
        {"backbone": backbone, "head": head, **epoch}
        for (backbone, head), own in training.items()
        for epoch in own["epochs"]
    ]
    return pl.DataFrame(rows, {**names, "loss": pl.Float64, "micro_ap": pl.Float64})


def _costs(pairs: list[Pair]) -> tuple[pl.DataFrame, dict | None]:
    """What each head costs, and where that was measured."""
    numbers = ["parameters", "folded_parameters", "milliseconds", "folded_milliseconds"]
    measured = {backbone: read_json(layout.cost(backbone)) for backbone, _ in pairs}
    rows = [
        [backbone, head, *(own["heads"][head][name] for name in numbers), own["backbone_parameters"]]
        for backbone, head in pairs
        if (own := measured[backbone]) and head in own["heads"]
    ]
    kinds = [pl.String, pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.Int64]
    schema = dict(zip(["backbone", "head", *numbers, "backbone_parameters"], kinds))
    first = next(filter(None, measured.values()), None)
    machine = first and {**first["machine"], "images": first["images"], "classes": first["classes"]}
    return pl.DataFrame(rows, schema, orient="row"), machine


def read_json(path: Path) -> dict | None:
    """Reads what another stage left; None where there is nothing.

    Raises:
        StageError: when the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise StageError(f"{path} is damaged: delete it and run dvc repro") from None
