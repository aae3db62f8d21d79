"""Results to tables: which rows and columns there are, and what stands under them. Computes no metric."""

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from pipeline import published, swap_tables
from pipeline.report.results import FLOOR, Pair, Results

MISSING = "missing"
MEASURED, QUOTED = "measured", "published, not comparable"
OVERALL = {"micro_f1": "micro F1", "macro_f1": "macro F1", "micro_ap": "micro AP", "macro_ap": "macro AP"}
SEGMENTS = {
    "images": "images in the set",
    "labels": "true labels",
    "frequency": "labels, by how many training sets have them",
    "unseen": "share of the set's images that no training set has",
}

DEFINITIONS = """\
Figures are means over test users, then over seeds; in brackets the 95 % interval of a bootstrap over users and seeds.
Standard at k: precision = hits / k, recall = hits / true labels; the ceiling is the best F1 that any ranking could
reach, the floor (popularity) gives every user the most frequent labels. Thresholded (the published definition): a label
counts as recommended only if it is among the k best and its score is at least 0.5. Among equal scores the mean over all
their orders counts."""


class Figure(NamedTuple):
    """A figure with its interval, and marks: which references it differs from."""

    value: float
    low: float
    high: float
    marks: str = ""


@dataclass(frozen=True)
class Table:
    """A table before it is text.

    Attributes:
        name: stem of its files.
        title: one line.
        columns: their heads.
        rows: cells: text, number or Figure.
        notes: what stands under it.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list]
    notes: str


def all_tables(results: Results, ks: list[int]) -> list[Table]:
    """All tables, the most read first."""
    return [
        headline(results, ks),
        quality(results, ks),
        cost(results),
        comparisons(results),
        segments(results),
        *([swap(results)] if results.swaps else []),
        tuning(results),
        ablation(results),
        data_table(results),
    ]


def headline(results: Results, ks: list[int]) -> Table:
    """One row a backbone and head: the figures that are not at k, and the one k of the published headline."""
    k = 10 if 10 in ks else ks[0]
    columns = ["backbone", "head", "parameters", *OVERALL.values(), f"F1@{k}", f"thresholded F1@{k}", "source"]
    size = {(row["backbone"], row["head"]): row["parameters"] for row in results.costs.iter_rows(named=True)}
    rows = []
    for pair in _pairs(results):
        cells = [_figure(results, pair, name) for name in OVERALL]
        cells += [_figure(results, pair, name, k) for name in ("f1", "published_f1")]
        rows.append([*pair, 0 if pair == FLOOR else size.get(pair, MISSING), *cells, MEASURED])
    for head, f1 in published.HEADLINE.items():
        quoted = [f1, ""] if k == 10 else ["", ""]
        rows.append(["published", head, published.COST[head][0], *[""] * len(OVERALL), *quoted, QUOTED])
    notes = [
        "F1 at a threshold chosen on validation; AP is average precision, micro over all pairs of a user and a label, "
        "macro the mean over labels.",
        DEFINITIONS,
        _marks(results),
        *_about_data(results),
        f"{_quoted()} Its text does not say by which definition its F1@10 is.",
    ]
    return Table("headline", "How well each head tells a user's interests", columns, rows, "\n".join(notes))


def quality(results: Results, ks: list[int]) -> Table:
    """The shape of the published table, one row a k and head, with both definitions and the published rows."""
    names = ("recall", "precision", "f1", "ceiling")
    thresholded = ("published_recall", "published_precision", "published_f1")
    columns = ["k", "backbone", "head", "Recall@k", "Precision@k", "F1@k", "ceiling F1@k", "floor F1@k"]
    columns += [f"thresholded {name}@k" for name in ("Recall", "Precision", "F1")] + ["source"]
    rows = []
    for k in ks:
        floor = _figure(results, FLOOR, "f1", k)
        for pair in _pairs(results):
            cells = [_figure(results, pair, name, k) for name in names]
            cells += [floor, *(_figure(results, pair, name, k) for name in thresholded)]
            rows.append([k, *pair, *cells, MEASURED])
        for head, (recall, precision) in published.QUALITY.get(k, {}).items():
            f1 = round(2 * recall * precision / (recall + precision), 3)
            rows.append([k, "published", head, *[""] * 5, recall, precision, f1, QUOTED])
    notes = [
        DEFINITIONS,
        _marks(results),
        *_about_data(results),
        f"{_quoted()} Published F1 is worked out from the published recall and precision.",
    ]
    return Table("quality", "Recommending the k best labels", columns, rows, "\n".join(notes))


def cost(results: Results) -> Table:
    """What each head weighs and how long a decision takes, without the backbone."""
    columns = ["backbone", "head", "parameters", "MB", "ms a decision"]
    columns += ["folded parameters", "folded MB", "folded ms a decision", "folded MB with backbone", "source"]
    measured = {(row["backbone"], row["head"]): row for row in results.costs.iter_rows(named=True)}
    rows = []
    for backbone in results.backbones:
        for head in results.heads:
            own = measured.get((backbone, head))
            if own is None:
                rows.append([backbone, head, *[MISSING] * (len(columns) - 3), MEASURED])
                continue
            trained, folded = own["parameters"], own["folded_parameters"]
            whole = _megabytes(folded + own["backbone_parameters"])
            cells = [trained, _megabytes(trained), own["milliseconds"]]
            cells += [folded, _megabytes(folded), own["folded_milliseconds"], whole]
            rows.append([backbone, head, *cells, MEASURED])
    for head, (parameters, megabytes) in published.COST.items():
        rows.append(["published", head, parameters, megabytes, *[""] * 5, "published"])
    notes = [
        "Folded: the same answers from fewer numbers, where algebra allows (a squeeze into a query, standardisation "
        "into the next layer). MB: float32, 1e6 bytes.",
        _about_times(results.machine),
        f"Published counts are of heads for vectors of 1024 numbers and 1000 labels ({published.SOURCE}); `visagg "
        "heads --dim 1024 --classes 1000` gives the same.",
    ]
    return Table("cost", "What each head costs", columns, rows, "\n".join(notes))


def comparisons(results: Results) -> Table:
    """Every test that was made."""
    columns = ["backbone", "head", "against", "figure", "difference", "p", "p, Holm", "differs"]
    rows = []
    for row in results.comparisons.iter_rows(named=True):
        name = OVERALL.get(row["metric"]) or f"F1@{row['k']}"
        figure = Figure(row["difference"], row["low"], row["high"])
        verdict = ("better" if row["difference"] > 0 else "worse") if row["holds"] else "not shown"
        place = [row["backbone"], row["head"], row["against"], name]
        rows.append([*place, figure, f"{row['p']:.2g}", f"{row['adjusted']:.2g}", verdict])
    notes = (
        "Each head against the best published head of its backbone (by validation) and against averaging, on the same "
        "users and resamples: t tests of the mean difference, its error from the bootstrap over users and seeds. "
        f"Adjusted by Holm's method over all {len(rows)} tests of this table. Intervals are not adjusted."
    )
    return Table("comparisons", "Which differences hold", columns, rows, notes)


def segments(results: Results) -> Table:
    """The figures of some sets, and of some labels."""
    names = {name: OVERALL[name] for name in ("micro_f1", "micro_ap")}
    columns = ["divided by", "part", "sets", "backbone", "head", *names.values()]
    rows = []
    for by, title in SEGMENTS.items():
        parts = results.figures.filter(pl.col("by") == by).select("segment", "n").unique(maintain_order=True)
        for segment, sets in parts.iter_rows():
            for pair in _pairs(results)[1:]:
                cells = [_figure(results, pair, name, None, by, segment) for name in names]
                rows.append([title, segment, sets, *pair, *cells])
    notes = [
        "Labels by frequency: the third that most training sets have (head), the next (middle), the rest (tail).",
        *_about_data(results),
    ]
    return Table("segments", "For whom, and for what, each head works", columns, rows, "\n".join(notes))


def swap(results: Results) -> Table:
    """What heads keep when the backbone is swapped; swap.md has more of it."""
    columns, rows = swap_tables.overview(results.swaps)
    rows = [[Figure(*cell) if isinstance(cell, tuple) else cell for cell in row] for row in rows]
    title = "What heads keep when the backbone is swapped: micro AP, with the chosen adapter"
    return Table("swap", title, columns, rows, swap_tables.NOTES)


def tuning(results: Results) -> Table:
    """What was tried for each head, what validation said of it, and what was chosen."""
    found = results.training
    rates = sorted({float(rate) for own in found.values() for rate in own["validation_micro_ap"]})
    seeds = sorted({seed["seed"] for own in found.values() for seed in own["seeds"]})
    columns = ["backbone", "head", "runs", *[f"rate {rate:g}" for rate in rates], "chosen rate"]
    columns += [f"seed {seed} (epoch)" for seed in seeds]
    rows = []
    for pair in _pairs(results)[1:]:
        if pair not in found:
            rows.append([*pair, *[MISSING] * (len(columns) - 2)])
            continue
        tried, own = found[pair]["validation_micro_ap"], {seed["seed"]: seed for seed in found[pair]["seeds"]}
        cells = [f"{tried[f'{rate:g}']:.4f}" if f"{rate:g}" in tried else "" for rate in rates]
        kept = [f"{own[seed]['micro_ap']:.4f} ({own[seed]['epoch']})" if seed in own else "" for seed in seeds]
        rows.append([*pair, len(tried) + len(own) - 1, *cells, f"{found[pair]['learning_rate']:g}", *kept])
    notes = (
        "Micro average precision on validation. Every head has the same runs: the first seed tries all learning rates, "
        "the others train at the one that it did best with; an epoch is kept by the same figure."
    )
    return Table("tuning", "What tuning tried and chose", columns, rows, notes)


def ablation(results: Results) -> Table:
    """What each peculiarity of the published code does to the figures."""
    names = {name: OVERALL[name] for name in ("micro_f1", "micro_ap")}
    columns = ["head", "switched on", *names.values(), *[f"change of {name}" for name in names.values()]]
    measured = results.ablation
    rows = []
    for row in measured["rows"] if measured else []:
        cells = [
            Figure(*row[name][kind]) if kind in row[name] else "" for kind in ("figure", "difference") for name in names
        ]
        rows.append([row["head"], row["switch"], *cells])
    where = (
        f"Backbone {measured['backbone']}, one seed, the same tuning for every row; changes are paired over users."
        if measured
        else "Not measured: run visagg ablate, or dvc repro."
    )
    notes = (
        f"{where} The code of the published heads' authors lets padding take part in the softmax and divides every sum "
        "by the longest set's length, has a tanh in its gate, does not standardise vectors, chooses on the test sets, "
        "and tests on sets of one image (which have that image's labels alone: another, easier or harder, question)."
    )
    return Table("ablation", "What the peculiarities of the published code do", columns, rows, notes)


def data_table(results: Results) -> Table:
    """What the data are, and what could not be used."""
    rows = []
    for key, value in results.data.items():
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


def _pairs(results: Results) -> list[Pair]:
    """The floor, then every declared pair."""
    return [FLOOR, *((backbone, head) for backbone in results.backbones for head in results.heads)]


def _figure(
    results: Results, pair: Pair, metric: str, k: int | None = None, by: str = "all", segment: str = ""
) -> Figure | str:
    """A cell: the figure, marked where it differs from a reference, or a word where there is none."""
    row = results.figure(pair, metric, k, by, segment)
    if row is None:
        return MISSING if pair in results.missing or by == "all" else ""
    return Figure(row["mean"], row["low"], row["high"], _mark(results, pair, metric, k) if by == "all" else "")


def _mark(results: Results, pair: Pair, metric: str, k: int | None) -> str:
    """Such as "p+ a+": better than the best published head, and than averaging."""
    backbone, head = pair
    own = results.comparisons.filter(pl.col("holds"), backbone=backbone, head=head, metric=metric).filter(
        pl.col("k").eq_missing(pl.lit(k, pl.Int64))
    )
    letters = {results.average: "a", results.reference.get(backbone): "p"}
    return " ".join(letters[row["against"]] + "-+"[row["difference"] > 0] for row in own.iter_rows(named=True))


def _marks(results: Results) -> str:
    """What the marks mean."""
    best = ", ".join(f"{head} on {backbone}" for backbone, head in results.reference.items())
    explained = [f"p+ (p-): better (worse) than the best published head by validation ({best})"] if best else []
    explained += [f"a+ (a-): than averaging ({results.average})"] if results.average else []
    if not explained:
        return "No published head is compared, so nothing is tested."
    return f"{'; '.join(explained)}; tests in comparisons.md. Where there is no mark, no difference is shown."


def _about_data(results: Results) -> list[str]:
    """How much of what is tested the heads may know by heart, and who is left out."""
    test = results.data["sets"]["test"]
    left = f"{test['sets']:,} test users; {results.data.get('users_without_label', 0):,} users without a label and "
    left += f"{results.data.get('users_without_image', 0):,} without an image are left out."
    return [left, results.seen()]


def _quoted() -> str:
    return f"Rows marked published are not comparable with the others ({published.SOURCE})."


def _about_times(machine: dict | None) -> str:
    if machine is None:
        return "Times and sizes were not measured: run visagg cost, or dvc repro."
    return (
        f"A decision: one set of {machine['images']} images whose vectors are cached, {machine['classes']} labels, "
        f"median time on {machine['processor']}, {machine['threads']} thread, torch {machine['torch']}. Times change "
        "from run to run; nothing else in these tables does."
    )


def _megabytes(parameters: int) -> float:
    return round(parameters * 4 / 1e6, 2)
