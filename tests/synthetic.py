"""Made-up results of made-up heads, for tests of what is drawn and written from results."""

import numpy as np
import polars as pl

from pipeline.heads.presets import PRESETS
from pipeline.report.results import Results

FIGURES = {
    "backbone": pl.String,
    "head": pl.String,
    "metric": pl.String,
    "k": pl.Int64,
    "by": pl.String,
    "segment": pl.String,
    "n": pl.Int64,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
PAIR = {"backbone": pl.String, "head": pl.String}
HISTORY = {
    **PAIR,
    "seed": pl.Int64,
    "learning_rate": pl.Float64,
    "epoch": pl.Int64,
    "loss": pl.Float64,
    "micro_ap": pl.Float64,
}
COSTS = {
    **PAIR,
    "parameters": pl.Int64,
    "folded_parameters": pl.Int64,
    "milliseconds": pl.Float64,
    "folded_milliseconds": pl.Float64,
}
CEILINGS = {5: 0.78, 10: 0.84, 15: 0.67}
SIZES = ["1-2", "3-7", "8", "10"]


def make_results(
    heads: int = 4, backbones: tuple[str, ...] = ("b0", "b1"), labels: int = 6, simulated: bool = False, missing=()
) -> Results:
    """Results of the first presets; on every backbone the last is the best, the first the best published."""
    names = list(PRESETS)[:heads]
    generator = np.random.default_rng(0)
    rows, history, costs = [], [], []

    def add(pair, metric, k, by, segment, n, value):
        rows.append((*pair, metric, k, by, segment, n, value, value - 0.02, value + 0.01))

    for pair in [*((b, h) for b in backbones for h in names if (b, h) not in missing), ("any", "popularity")]:
        level = 0.4 if pair[0] == "any" else 0.6 + 0.3 * names.index(pair[1]) / heads + generator.normal(0, 0.01)
        add(pair, "micro_ap", None, "all", "", 300, level)
        for k, ceiling in CEILINGS.items():
            add(pair, "f1", k, "all", "", 300, ceiling * level)
            add(pair, "ceiling", k, "all", "", 300, ceiling)
        for place, size in enumerate(SIZES):
            add(pair, "micro_ap", None, "images", size, 40 + place, level - 0.03 * place)
        for label in range(labels):
            for metric in ("precision", "recall", "f1"):
                add(pair, metric, None, "label", f"label {label}", 10 + label, level - 0.002 * label)
        if pair[0] != "any":
            size = 1000 * (names.index(pair[1]) + 1)
            costs.append((*pair, size, size - 10, 0.2, 0.1))
            history += [(*pair, s, 0.01, e, 1 / e, level - 0.3 / e - 0.01 * s) for s in range(3) for e in range(1, 5)]
    return Results(
        backbones=list(backbones),
        heads=names,
        best=dict.fromkeys(backbones, names[-1]),
        reference=dict.fromkeys(backbones, names[0]),
        figures=pl.DataFrame(rows, FIGURES, orient="row"),
        history=pl.DataFrame(history, HISTORY, orient="row"),
        comparisons=pl.DataFrame(),
        training={},
        machine=None,
        average=None,
        ablation=None,
        swaps=[],
        costs=pl.DataFrame(costs, COSTS, orient="row"),
        missing=list(missing),
        data={
            "source": "demo",
            "simulated": simulated,
            "sets": {"test": {"sets": 80, "share_of_images_in_training": 0.98}},
        },
    )
