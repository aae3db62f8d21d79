"""Tables of how the heads came to be: what tuning tried, and what the published code does otherwise."""

import csv
import io

from pipeline.metrics import measure
from pipeline.report import published
from pipeline.report.results import Results
from pipeline.report.statistics import Pair
from pipeline.report.table import MISSING, Cell, Measured, Table
from pipeline.report.text import csv_cells

ABLATED = {metric.name: metric.title for metric in measure.OVERALL}
ABLATED |= {"f1": "F1@10", "published_f1": "thresholded F1@10"}
FACTOR = published.HEADLINE["squeeze_fc"] / published.HEADLINE["average"]
TRIAL = ("learning_rate", "dropout", "cycle")
TRIAL_TITLES = ("rate", "dropout", "cycle")

TUNING = """\
Micro average precision on validation. The same rule for every head: the first seed tries all learning rates, and all
dropouts where the head leaves it open (NAME_dropout), with the shortest cycle of the learning rate; for each dropout
the better half of the rates again with the next longer one, and so on. What did best is trained with the other seeds.
An epoch is kept by the same metric. Not exhausted: the choice lies at an edge of what was tried, or the last epoch of
the longest cycle is the best one: more might be better. Every trial stands in tuning.csv."""


def tuning(results: Results) -> Table:
    """What validation chose for each head among how many runs, and whether the grid was wide enough for it."""
    declared = {pair: results.training[pair] for pair in results.pairs if pair in results.training}
    rates = sorted({tried["learning_rate"] for training in declared.values() for tried in training["tried"]})
    seeds = sorted({run["seed"] for training in declared.values() for run in training["seeds"]})
    rows: list[list[Cell]] = []
    for pair in results.pairs:
        cells: list[Cell] = [MISSING] * (5 + len(rates) + len(seeds))
        if training := declared.get(pair):
            chosen, kept = training["chosen"], {run["seed"]: run for run in training["seeds"]}
            best = {rate: [t["micro_ap"] for t in training["tried"] if t["learning_rate"] == rate] for rate in rates}
            cells = [
                len(training["tried"]) + len(kept) - 1,
                *(f"{max(values):.4f}" if (values := best[rate]) else "" for rate in rates),
                *(f"{chosen[name]:g}" for name in TRIAL),
                *(f"{kept[seed]['micro_ap']:.4f} ({kept[seed]['epoch']})" if seed in kept else "" for seed in seeds),
                ", ".join(edges(training)),
            ]
        rows.append([*pair, *cells])
    columns = ["backbone", "head", "runs", *(f"best at rate {rate:g}" for rate in rates), *TRIAL_TITLES]
    columns += [*(f"seed {seed} (epoch)" for seed in seeds), "not exhausted"]
    first = ("head", "backbone", *TRIAL_TITLES, f"seed {seeds[0]} (epoch)" if seeds else "", "not exhausted")
    shown = tuple(name for name in first if name in columns)
    longer = {".csv": _trials(declared)}
    return Table("tuning", "What tuning tried and chose", columns, rows, TUNING, first=shown, longer=longer)


def edges(training: dict) -> list[str]:
    """Where a head might have done better had more been tried.

    >>> tried = [{"learning_rate": rate, "dropout": 0.0, "cycle": 6} for rate in (0.001, 0.01)]
    >>> edges({"tried": tried, "chosen": tried[1], "seeds": [{"epoch": 6}]})
    ['highest rate', 'last epoch']
    """
    chosen, tried = training["chosen"], {name: {trial[name] for trial in training["tried"]} for name in TRIAL}
    found = []
    if chosen["learning_rate"] == min(tried["learning_rate"]):
        found.append("lowest rate")
    if chosen["learning_rate"] == max(tried["learning_rate"]):
        found.append("highest rate")
    if len(tried["dropout"]) > 1 and chosen["dropout"] == max(tried["dropout"]):
        found.append("highest dropout")
    if chosen["cycle"] == max(tried["cycle"]) and any(run["epoch"] == chosen["cycle"] for run in training["seeds"]):
        found.append("last epoch")
    return found


def _trials(declared: dict[Pair, dict]) -> str:
    """Every trial, for programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["backbone", "head", *TRIAL, "epoch", "validation micro AP"])
    for pair, training in declared.items():
        for tried in training["tried"]:
            writer.writerow(csv_cells("tuning.csv", [*pair, *(tried[name] for name in (*TRIAL, "epoch", "micro_ap"))]))
    return out.getvalue()


def ablation(results: Results) -> Table:
    """What each peculiarity of the published code does to the metrics."""
    rows = results.ablation["rows"] if results.ablation else []
    metrics = [name for name in ABLATED if all(name in row for row in rows)] if rows else []
    cells: list[list[Cell]] = [
        [
            row["head"],
            row["switch"],
            *(
                Measured(*row[name][kind]) if kind in row[name] else ""
                for kind in ("value", "difference")
                for name in metrics
            ),
        ]
        for row in rows
    ]
    notes = (
        f"{_how_ablated(results)} The code of the published heads' authors lets padding take part in the softmax and "
        "divides every sum by the longest set's length, has a tanh in its gate, does not standardise vectors, chooses "
        "on the test sets, and tests on sets of one image (which have that image's labels alone: another, easier or "
        "harder, question). Hardly trained: 3 epochs at a rate of 0.0003. F1@10: standard, and thresholded, by which a "
        "label counts only if its score is at least 0.5."
    )
    titles = [ABLATED[name] for name in metrics]
    columns = ["head", "switched on", *titles, *(f"change of {title}" for title in titles)]
    first = tuple(columns[:3]) + tuple(f"change of {title}" for title in titles[:2]) if titles else ()
    title = "What the peculiarities of the published code do"
    return Table("ablation", title, columns, cells, notes, first=first)


def factor(results: Results) -> Table | None:
    """How many times as good one head is as another with each peculiarity; None where it was not measured."""
    rows = results.ablation["ratios"] if results.ablation else []
    if not rows:
        return None
    cells: list[list[Cell]] = [
        [row["head"], row["against"], row["switch"], *(Measured(*row[name]) for name in ("published_f1", "f1"))]
        for row in rows
    ]
    within = [row["switch"] for row in rows if row["published_f1"][1] <= FACTOR <= row["published_f1"][2]]
    found = f"it lies within the interval of: {'; '.join(within)}" if within else "no row's interval holds it"
    notes = (
        f"{_how_ablated(results)} The ratio of one head's mean F1@10 to another's, on the same users. The published "
        f"table has {published.HEADLINE['squeeze_fc']} for attention against {published.HEADLINE['average']} for "
        f"averaging, a ratio of {FACTOR:.1f}: {found}. A possible cause of the published difference, no proof of what "
        "its authors did."
    )
    columns = ["head", "against", "switched on", "ratio of thresholded F1@10", "ratio of F1@10"]
    return Table("factor", "Where a factor of two comes from, and where it goes", columns, cells, notes)


def _how_ablated(results: Results) -> str:
    if not results.ablation:
        return "Not measured: run visagg ablate, or dvc repro."
    return (
        f"Backbone {results.ablation['backbone']}, one seed, the same tuning for every row (all rates, the shortest "
        "cycle, where no switch says more); changes are paired over users."
    )
