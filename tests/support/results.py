"""Made-up results of made-up heads, for tests of what is drawn and written from results: in memory, and on the disk."""

import copy
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.core.handover import write_record
from pipeline.evaluation import results as saved
from pipeline.heads.presets import PRESETS
from pipeline.metrics.measure import Predictions, Protocol, measure, segments
from pipeline.project import Project
from pipeline.report.results import FLOOR, Results
from pipeline.report.statistics import Pair
from pipeline.settings.settings import Settings
from tests.support.settings import make_settings

NAMES = {"backbone": pl.String, "head": pl.String}
VALUES = {
    **NAMES,
    "metric": pl.String,
    "k": pl.Int64,
    "by": pl.String,
    "segment": pl.String,
    "n": pl.Int64,
    "seeds": pl.Int64,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
COMPARISONS = {
    **NAMES,
    **dict.fromkeys(["against", "metric"], pl.String),
    "k": pl.Int64,
    **dict.fromkeys(["difference", "low", "high", "p", "adjusted"], pl.Float64),
    **dict.fromkeys(["asked", "holds"], pl.Boolean),
}
HISTORY = {**NAMES, "seed": pl.Int64, "epoch": pl.Int64, "loss": pl.Float64, "micro_ap": pl.Float64}
COSTS = {
    **NAMES,
    **dict.fromkeys(["parameters", "folded_parameters"], pl.Int64),
    **dict.fromkeys(["milliseconds", "folded_milliseconds"], pl.Float64),
    "backbone_parameters": pl.Int64,
}
CEILINGS = {5: 0.78, 10: 0.84, 15: 0.67}
SIZES = ["1-2", "3-7", "8", "10"]


def make_results(
    heads: int = 4,
    backbones: tuple[str, ...] = ("b0", "b1"),
    labels: int = 6,
    *,
    simulated: bool = False,
    missing: Sequence[Pair] = (),
) -> Results:
    """Results of the first presets; on every backbone the last is the best, the first the best published."""
    names = list(PRESETS)[:heads]
    generator = np.random.default_rng(0)
    rows: list[tuple] = []
    pairs = [(backbone, head) for backbone in backbones for head in names if (backbone, head) not in missing]
    for backbone, head in [*pairs, FLOOR]:
        level = 0.4 if backbone == "any" else 0.6 + 0.3 * names.index(head) / heads + generator.normal(0, 0.01)
        values: list[tuple] = [("micro_ap", None, "all", "", 300, level)]
        for k, ceiling in CEILINGS.items():
            values += [("f1", k, "all", "", 300, ceiling * level), ("ceiling", k, "all", "", 300, ceiling)]
        for i, size in enumerate(SIZES):
            values.append(("micro_ap", None, "images", size, 40 + i, level - 0.03 * i))
        for i in range(labels):
            for metric in ("precision", "recall", "f1"):
                values.append((metric, None, "label", f"label {i}", 10 + i, level - 0.002 * i))
        if backbone != "any":
            values += _calibration(level)
        rows += [(backbone, head, *key, 1, value, value - 0.02, value + 0.01) for *key, value in values]
    levels = {(row[0], row[1]): row[8] for row in rows if row[2] == "micro_ap" and row[4] == "all"}
    sizes = {head: 1000 * (i + 1) for i, head in enumerate(names)}
    history = [
        (*pair, seed, epoch, 1 / epoch, levels[pair] - 0.3 / epoch - 0.01 * seed)
        for pair in pairs
        for seed in range(3)
        for epoch in range(1, 5)
    ]
    costs = [(*pair, sizes[pair[1]], sizes[pair[1]] - 10, 0.2, 0.1, 1_000_000) for pair in pairs]
    return Results(
        backbones=list(backbones),
        heads=names,
        ks=list(CEILINGS),
        best=dict.fromkeys(backbones, names[-1]),
        reference=dict.fromkeys(backbones, names[0]),
        values=pl.DataFrame(rows, VALUES, orient="row"),
        history=pl.DataFrame(history, HISTORY, orient="row"),
        comparisons=pl.DataFrame([], COMPARISONS),
        training={},
        machine=None,
        average=None,
        ablation=None,
        conditions=None,
        swaps=[],
        costs=pl.DataFrame(costs, COSTS, orient="row"),
        missing=list(missing),
        references=[],
        merged=[],
        data={
            "source": "demo",
            "simulated": simulated,
            "drawn": simulated,
            "sets": {"test": {"sets": 80, "share_of_images_in_training": 0.98}},
        },
    )


def _calibration(level: float) -> list[tuple]:
    """Values of a head that claims too much before calibration; its last bin has next to no pair."""
    values: list[tuple] = []
    for when, power, error in (("before", 2, 0.4 - 0.3 * level), ("after", 1, 0.03)):
        values.append(("ece", None, "calibration", when, 300, error))
        for i in range(10):
            x, n = (i + 0.5) / 10, 3 if i == 9 else 400 - 10 * i
            key = (None, f"reliability {when}", f"{i / 10:.1f}-{(i + 1) / 10:.1f}", n)
            values += [("probability", *key, x), ("share_true", *key, x**power)]
    return values


# On the disk: three heads on one backbone, and what every other stage leaves.
LABELS = ["bags", "hats", "shoes", "ties"]
USERS, KS, RESAMPLES = 120, [2, 10], 200
OVERCONFIDENT = 0.3  # the power of a score that stands for what it was before calibration
DIGEST = "5e75"  # of the sets
DESCRIPTION = {
    "source": "demo",
    "simulated": True,
    "drawn": True,
    "sets_digest": DIGEST,
    "items": 1200,
    "items_with_image": 1198,
    "distinct_images": 1190,
    "purchases": 9000,
    "users": 640,
    "users_above_limit": 0,
    "users_without_label": 3,
    "users_without_image": 1,
    "sets": {
        split: {"sets": sets, "images_a_set": 4.5, "labels_a_set": 1.6, "share_of_images_in_training": 1.0}
        for split, sets in (("train", 400), ("validation", 120), ("test", USERS))
    },
    "labels": 4,
    "sets_a_label": {"bags": 200, "hats": 190, "shoes": 180, "ties": 170},
    "rejects": {"image: empty image": 2},
    "unreadable_images": {"items": 2, "sets": 5, "labels": 1},
}
COST = {"parameters": 27, "milliseconds": 0.1234, "folded_parameters": 20, "folded_milliseconds": 0.1}


def report_settings(*backbones: str, **changes: Any) -> Settings:
    """Settings that compare the heads of `write_results` on some backbones; changes as section_key."""
    declared = {name: {"model": "made for a test", "weights": "none"} for name in ("b0", "b1")}
    return make_settings(
        {
            "backbones": declared,
            "compare.backbones": list(backbones),
            "compare.heads": ["average", "squeeze_fc", "noisy_or"],
            "ablation.backbone": "b0",
            "ablation.heads": ["average"],
            "conditions.backbone": "b0",
            "swap": {},
            "evaluate.ks": KS,
            "evaluate.resamples": RESAMPLES,
            **{name.replace("__", "."): value for name, value in changes.items()},
        }
    )


def settings_with_a_missing_head() -> Settings:
    """A fourth head, "gone", that has no results."""
    heads = ["average", "squeeze_fc", "noisy_or", "gone"]
    return report_settings("b0", compare__heads=heads, heads={"gone": {"pool": "mean"}})


def write_head(folder: Path, skill: float, seeds: Sequence[int] = (0, 1), *, micro_ap: float | None = 0.9) -> None:
    """A head's results on some users: the higher its skill, the nearer its scores to the truth; None: not trained."""
    generator = np.random.default_rng(0)
    truth = generator.random((USERS, len(LABELS))) < 0.4
    truth[:, 0] |= ~truth.any(1)
    images, unseen = generator.integers(1, 9, USERS), np.minimum(np.round(generator.random(USERS) * 1.2), 1)
    noise = [np.random.default_rng(seed + 5).random(truth.shape) for seed in seeds]
    scores = [(skill * truth + (1 - skill) * of_seed).astype(np.float32) for of_seed in noise]
    parts = segments(images, unseen, truth, frequency=np.array([40, 30, 20, 10]))
    protocol = Protocol(labels=LABELS, segments=parts, ks=KS, resamples=RESAMPLES)
    trained = skill > 0 and micro_ap is not None
    predictions = [Predictions(of_seed, truth, 0.5, of_seed**OVERCONFIDENT if trained else None) for of_seed in scores]
    values = measure(predictions, list(seeds), protocol)
    training = _training(seeds, micro_ap) if trained else None
    saved.write(folder, values, sets_digest=DIGEST, training=training)


def _training(seeds: Sequence[int], micro_ap: float) -> dict:
    """What tuning tried and chose."""
    rates = {0.001: 0.5, 0.003: micro_ap, 0.01: 0.6}
    tried = [
        {"learning_rate": rate, "dropout": 0.0, "cycle": 3, "epoch": 2, "micro_ap": quality}
        for rate, quality in rates.items()
    ]
    return {
        "parameters": 35,
        "chosen": tried[1],
        "tried": tried,
        "seeds": [{"seed": seed, "epoch": 2, "micro_ap": micro_ap, "threshold": 0.5} for seed in seeds],
        "calibrations": [{"slope": 0.8 + 0.1 * seed, "offset": -1.5} for seed in seeds],
        "epochs": [
            {"seed": seed, "epoch": epoch, "loss": 1 / epoch, "micro_ap": micro_ap - 0.1 / epoch}
            for seed in seeds
            for epoch in (1, 2)
        ],
    }


def write_results(project: Project) -> None:
    """Results of three heads on b0, of the floor, and what the other stages leave of b0."""
    for name, skill, quality in (("average", 0.3, 0.7), ("squeeze_fc", 0.32, 0.72), ("noisy_or", 0.6, 0.9)):
        write_head(project.results("b0", name), skill, micro_ap=quality)
    write_head(project.popularity, 0.0, seeds=(0,))
    for name, skill in (("image_classifier", 0.61), ("nearest_images", 0.5)):
        write_head(project.references("b0") / name, skill, seeds=(0,), micro_ap=None)
    write_record(project.description, DESCRIPTION)
    write_record(
        project.cost("b0"),
        {
            "dim": 8,
            "classes": len(LABELS),
            "images": 8,
            "backbone_parameters": 1_000_000,
            "machine": {"processor": "P", "threads": 1, "torch": "T"},
            "heads": {"average": COST, "squeeze_fc": {**COST, "parameters": 54}, "noisy_or": COST},
        },
    )
    alone = {"value": [0.75, 0.7, 0.8]}
    paired = {"value": [0.7, 0.65, 0.75], "difference": [-0.05, -0.08, -0.02]}
    rows = [
        {"head": "average", "switch": "none", "micro_f1": alone, "micro_ap": alone},
        {"head": "average", "switch": "padding takes part", "micro_f1": paired, "micro_ap": paired},
    ]
    ahead = {"validation": 0.9, "micro_ap": [0.9, 0.88, 0.92], "micro_f1": [0.8, 0.7, 0.9], "behind": [0.0, 0.0, 0.0]}
    behind, close = {**ahead, "behind": [0.1, 0.05, 0.15]}, {**ahead, "behind": [0.01, -0.01, 0.03]}
    cases = [
        {"case": "gifts", "preferred": "noisy_or", "best": "noisy_or", "heads": {"noisy_or": ahead, "average": behind}},
        {"case": "pairs", "preferred": "attention", "best": "average", "heads": {"attention": ahead, "average": close}},
    ]
    write_record(project.conditions, {"sets_digest": DIGEST, "backbone": "b0", "users": 50, "cases": cases})
    compared = {"head": "noisy_or", "against": "average", "f1": [1.1, 1.0, 1.2]}
    ratios = [{**compared, "switch": "none", "published_f1": [1.2, 1.1, 1.3]}]
    ratios += [{**compared, "switch": "hardly trained", "published_f1": [1.9, 1.8, 2.1]}]
    write_record(project.ablation, {"sets_digest": DIGEST, "backbone": "b0", "rows": rows, "ratios": ratios})


def entry(value: float) -> dict:
    """A metric value as a swap holds it."""
    return {"value": round(value, 6), "interval": [round(value - 0.01, 6), round(value + 0.01, 6)]}


def make_swap() -> dict:
    """A swap of b0 for b1: two heads, one of which does not merge and was not retrained; two adapters, two sizes."""
    fits = [("ridge", 500), ("scaling", 500), ("ridge", 64)]
    kept = {"ridge": 0.79, "scaling": 0.6}
    both = {"micro_ap": entry(0.8), "micro_f1": entry(0.7)}

    def adapted(kind: str, pairs: int) -> dict:
        value = kept[kind] - (0.1 if pairs < 500 else 0)
        metric = {"adapted": entry(value), "retention": entry(value / 0.8), "gain": entry(value - 0.8)}
        row = {"adapter": kind, "pairs": pairs, "micro_ap": metric, "micro_f1": copy.deepcopy(metric)}
        return {**row, "negative_flips": entry(0.1), "overlap": entry(0.9)}

    average = {
        "obstacle": None,
        "stay": both,
        "unadapted": None,
        "retrained": both,
        "adapted": [adapted(*fit) for fit in fits],
    }
    maximum = {**copy.deepcopy(average), "obstacle": "it takes the largest number", "retrained": None}
    for row in maximum["adapted"]:
        row["micro_ap"]["retention"] = row["micro_f1"]["retention"] = None
    return {
        "sets_digest": DIGEST,
        "old": "b0",
        "new": "b1",
        "k": 5,
        "test_users": USERS,
        "backbone_parameters": {"b0": 1_000_000, "b1": 2_500_000},
        "images": 900,
        "training_images": 500,
        "best": "ridge",
        "adapter_parameters": 72,
        "compared_on": "images that only test users show",
        "refused": {"orthogonal": "the dims differ"},
        "floor": {"micro_ap": entry(0.4), "micro_f1": entry(0.35)},
        "adapters": [
            {
                "adapter": kind,
                "pairs": pairs,
                "images": 40,
                **({"strength": 0.1} if kind == "ridge" else {}),
                "cosine": entry(0.9),
                "explained_variance": entry(0.8),
            }
            for kind, pairs in fits
        ],
        "heads": {"average": average, "maximum": maximum},
    }


def cells(project: Project, table: str) -> list[dict[str, str]]:
    """The rows of a table of the report, by column."""
    with (project.tables / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def row_of(project: Project, table: str, **wanted: str) -> dict[str, str]:
    """The one row that has some cells."""
    (row,) = (row for row in cells(project, table) if wanted.items() <= row.items())
    return row
