"""Saved figures to tables, as Markdown for people and CSV for programs. Computes no metric and needs no torch."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline import files, layout, published
from pipeline.errors import StageError

FLOOR = "popularity"
MISSING = "missing"

DEFINITIONS = """\
Figures are means over test users, then over seeds; in brackets the 95 % interval of a bootstrap over users.
Standard at k: precision = hits / k, recall = hits / true labels; the ceiling is the best F1 that any ranking could
reach. Thresholded (the published definition): a label counts as recommended only if it is among the k best and its
score is at least 0.5. popularity is the floor: every user is given the most frequent labels."""


@dataclass(frozen=True)
class Table:
    """A table before it is text.

    Attributes:
        name: stem of its files.
        title: one line.
        columns: their heads.
        rows: cells, text or number; a figure is (value, low, high).
        notes: what stands under it.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list]
    notes: str


def report(pairs: list[tuple[str, str]], ks: list[int]) -> None:
    """Writes reports/tables from the figures of the declared backbones and heads; a pair without figures is named.

    Raises:
        StageError: when no declared pair has figures, or the data were never described.
    """
    data = _read(layout.DATA_REPORT)
    if data is None:
        raise StageError(f"{layout.DATA_REPORT} is missing: run visagg sets, or dvc repro")
    figures = {pair: _read(layout.metrics(*pair)) for pair in pairs}
    if not any(figures.values()):
        raise StageError("no declared backbone and head has figures: run visagg evaluate, or dvc repro")
    figures = {("any", FLOOR): _read(layout.POPULARITY), **figures}
    costs = {backbone: _read(layout.cost(backbone)) for backbone in dict.fromkeys(b for b, _ in pairs)}
    seen = _seen(data)
    tables = [
        headline(figures, seen),
        quality(figures, ks, seen),
        cost(pairs, costs),
        tuning({pair: figures[pair] for pair in pairs}),
        ablation(_read(layout.ABLATION)),
        data_table(data),
    ]
    for table in tables:
        write(table, data)


def headline(figures: dict[tuple[str, str], dict | None], seen: str) -> Table:
    """One row a backbone and head: the figures that are not at k."""
    names = {"micro_f1": "micro F1", "macro_f1": "macro F1", "micro_ap": "micro AP", "macro_ap": "macro AP"}
    rows = [[*pair, *_cells(figures[pair], names)] for pair in figures]
    notes = (
        "F1 at a threshold chosen on validation; AP is average precision, micro over all pairs of a user and a label, "
        f"macro the mean over labels.\n{DEFINITIONS}\n{seen}"
    )
    columns = ["backbone", "head", *names.values()]
    return Table("headline", "How well each head tells a user's interests", columns, rows, notes)


def quality(figures: dict[tuple[str, str], dict | None], ks: list[int], seen: str) -> Table:
    """The shape of the published table, one row a k and head, with both definitions and the published rows."""
    names = ("recall", "precision", "f1", "ceiling", "published_recall", "published_precision", "published_f1")
    columns = ["k", "backbone", "head", "Recall@k", "Precision@k", "F1@k", "ceiling F1@k"]
    columns += [f"thresholded {name}@k" for name in ("Recall", "Precision", "F1")]
    rows = []
    for k in ks:
        rows += [[k, *pair, *_cells(figures[pair], [f"{name}@{k}" for name in names])] for pair in figures]
        rows += [
            [k, "published", head, *[""] * 4, recall, precision, ""]
            for head, (recall, precision) in published.QUALITY.get(k, {}).items()
        ]
    notes = f"{DEFINITIONS}\n{seen}\nRows marked published are not comparable with the others ({published.SOURCE})."
    return Table("quality", "Recommending the k best labels", columns, rows, notes)


def cost(pairs: list[tuple[str, str]], costs: dict[str, dict | None]) -> Table:
    """What each head weighs and how long a decision takes, without the backbone."""
    columns = ["backbone", "head", "parameters", "folded parameters", "MB", "folded MB", "folded MB with backbone"]
    columns += ["ms a decision", "folded ms a decision"]
    rows = []
    for backbone, head in pairs:
        measured = costs[backbone]
        if measured is None or head not in measured["heads"]:
            rows.append([backbone, head, *[MISSING] * (len(columns) - 2)])
            continue
        own = measured["heads"][head]
        counts = [own["parameters"], own["folded_parameters"]]
        weighed = [*counts, counts[1] + measured["backbone_parameters"]]
        times = [own["milliseconds"], own["folded_milliseconds"]]
        rows.append([backbone, head, *counts, *[round(count * 4 / 1e6, 2) for count in weighed], *times])
    measured = next(filter(None, costs.values()), None)
    return Table("cost", "What each head costs", columns, rows, _cost_notes(measured))


def tuning(figures: dict[tuple[str, str], dict | None]) -> Table:
    """What was tried for each head, what validation said of it, and what was chosen."""
    found = {pair: figures[pair]["tuning"] for pair in figures if figures[pair]}
    rates = sorted({float(rate) for own in found.values() for rate in own["validation_micro_ap"]})
    seeds = list(dict.fromkeys(seed for own in found.values() for seed in own["seeds"]))
    columns = ["backbone", "head", "runs", *[f"rate {rate:g}" for rate in rates], "chosen rate"]
    columns += [f"seed {seed} (epoch)" for seed in seeds]
    rows = []
    for pair in figures:
        if pair not in found:
            rows.append([*pair, *[MISSING] * (len(columns) - 2)])
            continue
        tried, own = found[pair]["validation_micro_ap"], found[pair]["seeds"]
        runs = len(tried) + len(own) - 1
        cells = [f"{tried[f'{rate:g}']:.4f}" if f"{rate:g}" in tried else "" for rate in rates]
        kept = [f"{own[seed]['micro_ap']:.4f} ({own[seed]['epoch']})" if seed in own else "" for seed in seeds]
        rows.append([*pair, runs, *cells, f"{found[pair]['learning_rate']:g}", *kept])
    notes = (
        "Micro average precision on validation. Every head has the same runs: the first seed tries all learning rates, "
        "the others train at the one that it did best with; an epoch is kept by the same figure."
    )
    return Table("tuning", "What tuning tried and chose", columns, rows, notes)


def ablation(measured: dict | None) -> Table:
    """What each peculiarity of the published code does to the figures."""
    names = {"micro_f1": "micro F1", "macro_f1": "macro F1", "micro_ap": "micro AP", "macro_ap": "macro AP"}
    columns = ["head", "switched on", *names.values(), "change of micro F1", "change of micro AP"]
    rows = []
    if measured:
        plain = {row["head"]: row for row in measured["rows"] if row["switch"] == "none"}
        for row in measured["rows"]:
            changes = [row[name]["mean"] - plain[row["head"]][name]["mean"] for name in ("micro_f1", "micro_ap")]
            rows.append([row["head"], row["switch"], *_cells(row, names), *[f"{change:+.3f}" for change in changes]])
    where = (
        f"Backbone {measured['backbone']}, one seed, the same tuning for every row."
        if measured
        else "Run visagg ablate."
    )
    notes = (
        f"{where} The code of the published heads' authors lets padding take part in the softmax and divides every sum "
        "by the longest set's length, has a tanh in its gate, does not standardise vectors, chooses on the test sets, "
        "and tests on sets of one image (which have that image's labels alone: another, easier or harder, question)."
    )
    return Table("ablation", "What the peculiarities of the published code do", columns, rows, notes)


def _seen(data: dict) -> str:
    """How much of what is tested the heads may know by heart."""
    share = data["sets"]["test"]["share_of_images_in_training"]
    note = f"Users are split, items are shared: {share:.0%} of the test sets' images are in training sets too"
    note = note.replace("%", " %")
    return f"{note}; sets.new_items keeps some apart." if share else "No image of a test set is in a training set."


def _cost_notes(measured: dict | None) -> str:
    if measured is None:
        return "Not measured: run visagg cost, or dvc repro."
    machine = measured["machine"]
    return (
        "Folded: the same answers from fewer numbers, where algebra allows (a squeeze into a query, standardisation "
        "into the next layer). MB: float32, 1e6 bytes. A decision: one set of "
        f"{measured['images']} images whose vectors are cached, {measured['classes']} labels, median time on "
        f"{machine['processor']}, {machine['threads']} thread, torch {machine['torch']}. Times change from run to run; "
        "nothing else in these tables does."
    )


def data_table(data: dict) -> Table:
    """What the data are, and what could not be used."""
    rows = []
    for key, value in data.items():
        if key in ("source", "simulated"):
            continue
        flat = value.items() if isinstance(value, dict) else [("", value)]
        for name, number in flat:
            cells = number.items() if isinstance(number, dict) else [("", number)]
            rows += [
                [" ".join(filter(None, (key.replace("_", " "), name, part.replace("_", " ")))), cell]
                for part, cell in cells
            ]
    return Table("data", "The data", ["what", "count"], rows, "Every reject stands in data/catalogue/rejects.parquet.")


def write(table: Table, data: dict) -> None:
    """Writes a table as Markdown and as CSV."""
    layout.TABLES.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".md", markdown(table, data)), (".csv", comma_separated(table))):
        with files.write_aside(layout.TABLES / f"{table.name}{suffix}") as aside:
            aside.write_text(text, encoding="utf-8")


def markdown(table: Table, data: dict) -> str:
    """A page with the title, where the data are from, the table and its notes."""
    origin = f"Source: {data['source']}."
    if data["simulated"]:
        origin += " **Simulated**: images drawn by a program, users who do not exist. No figure here is about people."
    lines = [f"# {table.title}", "", origin, "", _line(table.columns), _line(["---"] * len(table.columns))]
    lines += [_line([_text(cell) for cell in row]) for row in table.rows]
    return "\n".join([*lines, "", table.notes, ""])


def comma_separated(table: Table) -> str:
    """The same cells; a figure takes three columns: value, low and high."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    spread = [any(isinstance(row[place], tuple) for row in table.rows) for place in range(len(table.columns))]
    heads = [[name, f"{name} low", f"{name} high"] if wide else [name] for name, wide in zip(table.columns, spread)]
    writer.writerow([head for group in heads for head in group])
    for row in table.rows:
        cells = [_spread(cell) if wide else [cell] for cell, wide in zip(row, spread)]
        writer.writerow([cell for group in cells for cell in group])
    return out.getvalue()


def _cells(figures: dict | None, names) -> list:
    """(mean, low, high) of each figure; a word where there is none."""
    if figures is None:
        return [MISSING for _ in names]
    return [(figures[name]["mean"], *figures[name]["interval"]) if name in figures else MISSING for name in names]


def _spread(cell: object) -> list:
    return list(cell) if isinstance(cell, tuple) else [cell, "", ""]


def _text(cell: object) -> str:
    if isinstance(cell, tuple):
        return f"{cell[0]:.3f} [{cell[1]:.3f}, {cell[2]:.3f}]"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise StageError(f"{path} is damaged: delete it and run dvc repro") from None
