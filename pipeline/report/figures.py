"""Figures as SVG: the same bytes from the same results, readable without colour, text kept as text.

A head has one marker in all figures. What is looked for first stands out by colour, line and weight together: the best
head, the best published head, and the floor; the others are grey. Names stand at the ends of their lines, in the order
of the values, so that nobody compares colours with a legend.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline import files
from pipeline.report import looks
from pipeline.report.looks import BEST, DASHES, FAINT, INK, STYLE, Look
from pipeline.report.results import FLOOR, Results

TITLES = {
    "quality_size": "Quality against size",
    "f1_at_k": "F1 of the k best labels",
    "training": "Training",
    "labels": "Precision and recall of each label",
    "set_size": "Quality against the number of images in a set",
}
ROLES = "Blue: the best head on validation; orange, dashed: the best published one."
MOST_LABELS = 60  # a label more has no place of its own on a page
COLUMNS = 2  # panels side by side
LABEL_INCHES = 0.145  # a line of text at the end of a line


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Draws all figures and writes them as NAME.svg.

    Args:
        results: what is drawn. A figure for which it holds nothing says so in place of its axes.
        folder: where the files go.

    Returns:
        The SVG text of each figure, by its name: the keys of TITLES.
    """
    drawers = {
        "quality_size": quality_size,
        "f1_at_k": f1_at_k,
        "training": training,
        "labels": labels,
        "set_size": set_size,
    }
    found = {}
    for name, drawer in drawers.items():
        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
            matplotlib.rcParams.update({**STYLE, "svg.hashsalt": name})
            found[name] = _svg(drawer(results), TITLES[name])
        with files.write_aside(folder / f"{name}.svg") as aside:
            aside.write_text(found[name], encoding="utf-8")
    return found


def quality_size(results: Results) -> Figure:
    """Micro average precision against folded parameters, one panel a backbone, with the Pareto front."""
    quality = _figures(results, metric="micro_ap", by="all").join(results.costs, on=["backbone", "head"])
    if quality.is_empty():
        return _nothing(results, "quality_size", "No head has both figures and a measured size: run visagg cost.")
    backbones = [name for name in results.backbones if name in quality["backbone"]]
    heads = [name for name in results.heads if name in quality["head"]]
    figure, panels = _panels(len(backbones), 4.1, max(3.4, 1.2 + LABEL_INCHES * len(heads)), sharex=True, sharey=True)
    smallest, largest = quality["folded_parameters"].min(), quality["folded_parameters"].max()
    for axes, backbone in zip(panels, backbones):
        points = quality.filter(backbone=backbone).sort("folded_parameters", "mean", descending=[False, True])
        front = points.filter(pl.col("mean") > pl.col("mean").cum_max().shift().fill_null(-1))
        axes.step(front["folded_parameters"], front["mean"], where="post", color=INK, linewidth=0.7, zorder=2)
        for rows in points.partition_by("head", maintain_order=True):
            _points(axes, rows["folded_parameters"], rows, looks.of_head(results, backbone, rows["head"][0]))
        left = smallest * min(0.3, (smallest / largest) ** 0.6)  # room for the first name of the front
        axes.set(title=backbone, xscale="log", xlim=(left, largest * 1.3))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _name_front(axes, front)
    _outer_labels(panels, "parameters of the head, folded (count, log scale)", "micro average precision")
    handles = [Line2D([], [], **looks.in_legend(results, head)) for head in heads]
    figure.legend(handles, heads, loc="outside right upper", title="head", alignment="left")
    note = "Line: the Pareto front, heads that no smaller head matches, by name. Bars: 95 % interval, users and seeds."
    return _finish(figure, results, "quality_size", f"{note} {ROLES}")


def f1_at_k(results: Results) -> Figure:
    """F1@k against k, one panel a backbone, between the ceiling and the floor."""
    scores = _figures(results, metric="f1", by="all").with_columns(x=pl.col("k").cast(pl.Float64))
    ceiling = _figures(results, metric="ceiling", by="all").unique("k", keep="first").sort("k")
    if scores.is_empty():
        return _nothing(results, "f1_at_k", "No head has figures at k: run visagg evaluate.")
    figure, panels = _line_panels(results, scores)
    for axes, backbone in zip(panels, _drawn_backbones(results, scores)):
        axes.plot(ceiling["k"], ceiling["mean"], color=INK, linestyle=DASHES[3], linewidth=1, zorder=2)
        ends = [(ceiling["mean"][-1], "ceiling", INK, "normal")] if len(ceiling) else []
        _lines(axes, results, scores, backbone, 0.12, ends)
        axes.set_xticks(scores["k"].unique().sort().to_list())
    _outer_labels(panels, "k (labels recommended)", "F1@k (mean over users)")
    note = (
        "Ceiling: what a perfect ranking would reach. Floor: popularity, the same labels for everyone. Points are set "
        "apart sideways at each k; bars: 95 % interval over users and seeds."
    )
    return _finish(figure, results, "f1_at_k", f"{note} {ROLES}")


def set_size(results: Results) -> Figure:
    """Micro average precision against the number of images in a set, one panel a backbone."""
    scores = _figures(results, metric="micro_ap", by="images").filter(pl.col("head") != FLOOR[1])
    if scores.is_empty():
        return _nothing(results, "set_size", "No head has figures by set size: run visagg evaluate.")
    sizes = sorted(scores["segment"].unique(), key=_first_number)
    scores = scores.with_columns(x=pl.col("segment").replace_strict(sizes, range(len(sizes)), return_dtype=pl.Float64))
    counts = dict(scores.select("segment", "n").iter_rows())
    figure, panels = _line_panels(results, scores)
    for axes, backbone in zip(panels, _drawn_backbones(results, scores)):
        _lines(axes, results, scores, backbone, 0.6, [])
        names = [f"{size.replace('-', '–')}\n{counts[size]:,} sets" for size in sizes]
        axes.set_xticks(range(len(sizes)), names)
    _outer_labels(panels, "images in the set", "micro average precision")
    note = "Points are set apart sideways at each size; bars: 95 % interval over users and seeds."
    return _finish(figure, results, "set_size", f"{note} {ROLES}")


def training(results: Results) -> Figure:
    """Validation micro average precision against the epoch, one panel a head."""
    known = results.history.filter(pl.col("head").is_in(results.heads), pl.col("backbone").is_in(results.backbones))
    if known.is_empty():
        return _nothing(results, "training", "No head has a training history: run visagg train.")
    curves = known.group_by("backbone", "head", "epoch").agg(
        pl.col("micro_ap").mean().alias("mean"),
        pl.col("micro_ap").min().alias("low"),
        pl.col("micro_ap").max().alias("high"),
    )
    span = curves.group_by("epoch").agg(pl.col("mean").min().alias("low"), pl.col("mean").max().alias("high"))
    span = span.sort("epoch")
    heads, backbones = [[name for name in names if name in known[column]] for names, column in _declared(results)]
    columns = min(5, len(heads))
    rows = -(-len(heads) // columns)
    figure = Figure((1.0 + 1.75 * columns, 1.1 + 1.35 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, head in zip(panels, heads):
        axes.fill_between(span["epoch"], span["low"], span["high"], color=FAINT, alpha=0.5, linewidth=0, zorder=1)
        for backbone, line in zip(backbones, _cycle(DASHES, len(backbones))):
            own = curves.filter(backbone=backbone, head=head).sort("epoch")
            axes.fill_between(own["epoch"], own["low"], own["high"], color=BEST, alpha=0.2, linewidth=0, zorder=2)
            axes.plot(own["epoch"], own["mean"], color=BEST, linestyle=line, linewidth=1.2, zorder=3, label=backbone)
        axes.set_title(head)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in panels[len(heads) :]:
        axes.remove()
    figure.supylabel("micro average precision on validation", fontsize=8)
    for axes in panels[max(0, len(heads) - columns) : len(heads)]:
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", title="backbone", alignment="left", handlelength=3.4)
    note = (
        "At the chosen learning rate. Line: mean over the seeds that are still training; blue band: their range; grey "
        "band: all heads and backbones."
    )
    return _finish(figure, results, "training", note)


def labels(results: Results) -> Figure:
    """Precision and recall of every label, most frequent first, of the best head and of the best published head."""
    scores = _figures(results, by="label").filter(pl.col("metric").is_in(["precision", "recall"]))
    backbones = [name for name in results.backbones if name in scores["backbone"] and name in results.best]
    if not backbones:
        return _nothing(results, "labels", "No head has figures by label: run visagg evaluate.")
    frequency = scores.group_by("segment").agg(pl.col("n").max()).sort(["n", "segment"], descending=[True, False])
    shown = frequency if len(frequency) <= MOST_LABELS else _both_ends(frequency, MOST_LABELS)
    height = 0.165 * len(shown) + 0.55
    figure = Figure((9.4, height * len(backbones) + 0.9), layout="constrained")
    grid = figure.subplots(len(backbones), 2, sharex=True, sharey=True, squeeze=False)
    places = {name: -place for place, name in enumerate(shown["segment"])}
    for panels, backbone in zip(grid, backbones):
        heads = [head for head in (results.reference.get(backbone), results.best[backbone]) if head]
        for axes, metric in zip(panels, ("precision", "recall")):
            for shift, head in zip((-0.16, 0.16), heads):
                rows = scores.filter(pl.col("segment").is_in(places), backbone=backbone, head=head, metric=metric)
                heights = [places[name] + shift for name in rows["segment"]]
                _points(axes, heights, rows, looks.of_head(results, backbone, head), sideways=True)
            axes.set_title(f"{backbone}: {metric}")
            axes.set_yticks(list(places.values()), [f"{name} ({n:,})" for name, n in shown.iter_rows()])
            axes.set(xlim=(max(-0.02, scores["low"].min() - 0.05), 1.02), ylim=(0.4 - len(places), 0.6))
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        handles = [Line2D([], [], **looks.of_head(results, backbone, head).keywords()) for head in heads]
        roles = [f"{head}\n({'best' if head == results.best[backbone] else 'best published'})" for head in heads]
        panels[1].legend(handles[::-1], roles[::-1], loc="upper left", bbox_to_anchor=(1.02, 1), handlelength=3)
    for axes, metric in zip(grid[-1], ("precision", "recall")):
        axes.set_xlabel(f"{metric} of the label (share, 0 to 1)")
    rest = len(frequency) - len(shown)
    cut = f" The most and the least frequent; {rest:,} labels between them are in the tables." if rest else ""
    note = f"In brackets the test sets that have the label.{cut} Bars: 95 % interval over users and seeds."
    return _finish(figure, results, "labels", note)


def _figures(results: Results, **wanted: str) -> pl.DataFrame:
    """Figures of declared pairs and of the floor, in the order of the settings."""
    order = [*results.heads, FLOOR[1]]
    backbones = [*results.backbones, FLOOR[0]]
    known = results.figures.filter(pl.col("head").is_in(order), pl.col("backbone").is_in(backbones), **wanted)
    by_order = pl.col("head").replace_strict(order, range(len(order)), return_dtype=pl.Int64)
    return known.sort(by_order, "backbone", "segment", "k")


def _declared(results: Results) -> list[tuple[list[str], str]]:
    return [(results.heads, "head"), (results.backbones, "backbone")]


def _drawn_backbones(results: Results, scores: pl.DataFrame) -> list[str]:
    return [name for name in results.backbones if name in scores["backbone"]] or results.backbones[:1]


def _panels(count: int, width: float, height: float, **shared: bool) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each so many inches wide and high, and a little more for what surrounds them."""
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = Figure((width * columns + 0.8, height * rows + 0.8), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _line_panels(results: Results, scores: pl.DataFrame) -> tuple[Figure, list[Axes]]:
    height = max(3.4, LABEL_INCHES * (scores["head"].n_unique() + 2) + 0.9)
    return _panels(len(_drawn_backbones(results, scores)), 4.9, height, sharex=True, sharey=True)


def _lines(axes: Axes, results: Results, scores: pl.DataFrame, backbone: str, width: float, ends: list[tuple]) -> None:
    """One line a head through its points, each with its interval, and the names at the right.

    Args:
        axes: where.
        results: for the heads' roles.
        scores: the figures, with their place in column x.
        backbone: the panel's.
        width: over which points are set apart sideways, as a share of the distance between two places.
        ends: what else has a name at the right: (y, name, colour, weight).
    """
    own = scores.filter(pl.col("backbone").is_in([backbone, FLOOR[0]]))
    steps = np.diff(np.unique(own["x"]))
    heads = own.partition_by("head", maintain_order=True)
    shifts = np.linspace(-0.5, 0.5, len(heads)) * width * min(steps, default=1)
    for shift, points in zip(shifts, heads):
        points = points.sort("x")
        head = points["head"][0]
        look = looks.of_head(results, backbone, head)
        axes.plot(points["x"] + shift, points["mean"], **{**look.keywords(), "marker": ""})
        _points(axes, points["x"] + shift, points, look)
        ends.append((points["mean"][-1], head, look.colour, look.weight))
    axes.set_title(backbone)
    axes.grid(False, axis="x")
    _name_ends(axes, own["x"].max() + shifts[-1], ends)


def _points(axes: Axes, places: Sequence[float], rows: pl.DataFrame, look: Look, sideways: bool = False) -> None:
    """Points at their means, each with its interval, upright or sideways."""
    bars, at = (axes.hlines, (rows["mean"], places)) if sideways else (axes.vlines, (places, rows["mean"]))
    bars(places, rows["low"], rows["high"], colors=look.colour, linewidth=0.7, zorder=look.order)
    axes.plot(*at, **{**look.keywords(), "linestyle": "none"})


def _name_ends(axes: Axes, x: float, ends: list[tuple]) -> None:
    """Names right of the axes, as near to the ends of their lines as they have room: (y, name, colour, weight)."""
    ends = sorted(ends, key=lambda end: end[:2])
    places = spread_out([end[0] for end in ends], _line_height(axes), *axes.get_ylim())
    for (y, name, colour, weight), place in zip(ends, places):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.08, place),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=7.5,
            fontweight=weight,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "shrinkA": 2,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def _line_height(axes: Axes) -> float:
    """A line of text, in the units of the panel's y axis; the panel is what its row leaves beside titles and ticks."""
    low, high = axes.get_ylim()
    rows = axes.get_subplotspec().get_gridspec().nrows
    return (high - low) * LABEL_INCHES / (axes.figure.get_size_inches()[1] / rows - 1)


def spread_out(values: list[float], gap: float, low: float, high: float) -> np.ndarray:
    """Places nearest to ascending values that are `gap` apart at least, between `low` and `high` as far as they fit.

    Args:
        values: ascending, [n].
        gap: the least distance of neighbours.
        low: the least place.
        high: the greatest place, unless n places do not fit.

    Returns:
        float64 [n], ascending.
    """
    steps = gap * np.arange(len(values))
    blocks: list[tuple[float, int]] = []  # mean and size; blocks that would go down are merged, as isotonic fits do
    for value in np.asarray(values) - steps:
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (mean, size), (other, more) = blocks.pop(), blocks.pop()
            blocks.append(((mean * size + other * more) / (size + more), size + more))
    levels = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
    return np.clip(levels, low, max(low, high - steps[-1])) + steps


def _name_front(axes: Axes, front: pl.DataFrame) -> None:
    """Names the heads of the Pareto front above and left of their points, where no other point can be."""
    places = spread_out(front["mean"].to_list(), _line_height(axes), *axes.get_ylim())
    for row, place in zip(front.iter_rows(named=True), places):
        at = (row["folded_parameters"], place)
        axes.annotate(row["head"], at, xytext=(-5, 1), textcoords="offset points", ha="right", fontsize=7.5)


def _outer_labels(panels: list[Axes], x: str, y: str) -> None:
    """Axis labels where no other panel stands below or to the left; ticks are shown below all that end a column."""
    for place, axes in enumerate(panels):
        if place + COLUMNS >= len(panels):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
        if place % COLUMNS == 0:
            axes.set_ylabel(y)


def _both_ends(frequency: pl.DataFrame, count: int) -> pl.DataFrame:
    return pl.concat([frequency.head(count // 2), frequency.tail(count - count // 2)])


def _first_number(segment: str) -> tuple[int, str]:
    """A key that puts "2" and "1-2" before "10"."""
    digits = segment.partition("-")[0].strip("<>=+ ")
    return (int(digits) if digits.isdecimal() else 1 << 30, segment)


def _cycle(values: tuple, count: int) -> list:
    return [values[place % len(values)] for place in range(count)]


def _nothing(results: Results, name: str, reason: str) -> Figure:
    figure = Figure((6, 1.4), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0, 0.5, reason, va="center")
    return _finish(figure, results, name, "")


def _finish(figure: Figure, results: Results, name: str, note: str) -> Figure:
    """Adds the title and, below, how to read the figure, what is missing, and that data are simulated."""
    simulated = bool(results.data.get("simulated"))
    origin = f"{results.data.get('source', 'unknown source')}{', simulated' if simulated else ''}"
    sentences = [note]
    if results.missing:
        sentences.append(f"Missing: {', '.join(' '.join(pair) for pair in results.missing)}.")
    if simulated:
        sentences.append("Simulated data: drawn images, users who do not exist. Nothing here is about people.")
    figure.suptitle(f"{TITLES[name]} ({origin})", x=0.008, ha="left", fontsize=10, fontweight="bold")
    width = int(figure.get_size_inches()[0] * 15.5)
    text = textwrap.fill(" ".join(filter(None, sentences)), width)
    figure.supxlabel(text, x=0.008, ha="left", fontsize=7.5)
    return figure


def _svg(figure: Figure, title: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
