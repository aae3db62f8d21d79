"""Tables of how the heads came to be: what tuning tried, and what the published code does otherwise."""

from pipeline.metrics import measure
from pipeline.report.results import Results
from pipeline.report.table import MISSING, Cell, Measured, Table


def tuning(results: Results) -> Table:
    """What was tried for each head, what validation said of it, and what was chosen."""
    declared = {pair: results.training[pair] for pair in results.pairs if pair in results.training}
    rates = sorted({float(rate) for tuned in declared.values() for rate in tuned["validation_micro_ap"]})
    seeds = sorted({run["seed"] for tuned in declared.values() for run in tuned["seeds"]})
    rows: list[list[Cell]] = []
    for pair in results.pairs:
        cells: list[Cell] = [MISSING] * (2 + len(rates) + len(seeds))
        if tuned := declared.get(pair):
            tried, kept = tuned["validation_micro_ap"], {run["seed"]: run for run in tuned["seeds"]}
            cells = [
                len(tried) + len(kept) - 1,
                *(f"{tried[f'{rate:g}']:.4f}" if f"{rate:g}" in tried else "" for rate in rates),
                f"{tuned['learning_rate']:g}",
                *(f"{kept[seed]['micro_ap']:.4f} ({kept[seed]['epoch']})" if seed in kept else "" for seed in seeds),
            ]
        rows.append([*pair, *cells])
    notes = (
        "Micro average precision on validation. Every head has the same runs: the first seed tries all learning rates, "
        "the others train at the one that it did best with; an epoch is kept by the same metric."
    )
    columns = ["backbone", "head", "runs", *(f"rate {rate:g}" for rate in rates), "chosen rate"]
    return Table(
        "tuning", "What tuning tried and chose", [*columns, *(f"seed {seed} (epoch)" for seed in seeds)], rows, notes
    )


def ablation(results: Results) -> Table:
    """What each peculiarity of the published code does to the metrics."""
    content = results.ablation or {"rows": []}
    metrics = [metric for metric in measure.OVERALL if all(metric.name in row for row in content["rows"])]
    metrics = metrics if content["rows"] else []
    rows: list[list[Cell]] = [
        [
            row["head"],
            row["switch"],
            *(
                Measured(*row[metric.name][kind]) if kind in row[metric.name] else ""
                for kind in ("value", "difference")
                for metric in metrics
            ),
        ]
        for row in content["rows"]
    ]
    how = (
        f"Backbone {results.ablation['backbone']}, one seed, the same tuning for every row; changes are paired over "
        "users."
        if results.ablation
        else "Not measured: run visagg ablate, or dvc repro."
    )
    notes = (
        f"{how} The code of the published heads' authors lets padding take part in the softmax and divides every sum "
        "by the longest set's length, has a tanh in its gate, does not standardise vectors, chooses on the test sets, "
        "and tests on sets of one image (which have that image's labels alone: another, easier or harder, question)."
    )
    titles = [metric.title for metric in metrics]
    columns = ["head", "switched on", *titles, *(f"change of {title}" for title in titles)]
    return Table("ablation", "What the peculiarities of the published code do", columns, rows, notes)
