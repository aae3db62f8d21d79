"""Plots of how good the heads are: against their size, at k, and by the number of images in a set."""

from collections.abc import Iterable

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from pipeline.report.plots import styles
from pipeline.report.plots.lines import OTHERS, Lines
from pipeline.report.plots.panels import ROLES, End, draw_points, label_outer, make_panels, numbers, select
from pipeline.report.plots.plot import Drawing, nothing
from pipeline.report.plots.styles import DASH_DOTTED, INK
from pipeline.report.results import FLOOR, Results

ROW_HEIGHT = 0.19  # inches, of a head


def quality_size(results: Results) -> Drawing:
    """Micro average precision of each head, best first, with its folded parameters, one panel a backbone."""
    values = select(results, metric="micro_ap", by="all")
    quality = values.join(results.costs, on=["backbone", "head"], maintain_order="left")
    if quality.is_empty():
        return nothing("No head has both results and a measured size: run visagg cost.")
    backbones = [name for name in results.backbones if name in quality["backbone"]]
    rows = {name: quality.filter(backbone=name).sort("mean", maintain_order=True) for name in backbones}
    most = max(map(len, rows.values()))
    figure, panels = make_panels(len(backbones), (5.2, 0.6 + ROW_HEIGHT * most), sharey=False)
    seen = []
    for axes, (backbone, of_backbone) in zip(panels, rows.items(), strict=True):
        axes.set_title(backbone)
        _draw_heads(axes, results, of_backbone)
        seen.append(f"On {backbone}, best first: {_in_words(of_backbone.reverse())}.")
    label_outer(panels, "micro average precision", "")
    note = (
        "Heads with the number of their parameters, folded; a ring: no smaller head does as well (the Pareto front). "
        "Bars: 95 % interval over users and seeds."
    )
    return Drawing(figure, f"{note} {ROLES}", " ".join(seen))


def _draw_heads(axes: Axes, results: Results, rows: pl.DataFrame) -> None:
    """One backbone's heads, a row each, the best on top; a ring around those that no smaller one matches."""
    by_size = rows.sort("folded_parameters", "mean", descending=[False, True], maintain_order=True)
    front = by_size.filter(pl.col("mean") > pl.col("mean").cum_max().shift().fill_null(-1))["head"].to_list()
    count = EngFormatter(sep=" ", places=0)
    names = [f"{head}  {count(size)}" for head, size in rows.select("head", "folded_parameters").iter_rows()]
    for height, of_head in enumerate(rows.partition_by("head", maintain_order=True)):
        style = styles.of_head(results, of_head["backbone"][0], of_head["head"][0])
        draw_points(axes, np.array([float(height)]), of_head, style=style, sideways=True)
        if of_head["head"][0] in front:
            axes.plot(numbers(of_head, "mean"), [height], "o", color=INK, markersize=10, fillstyle="none", zorder=7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _in_words(rows: pl.DataFrame) -> str:
    """Heads with their values, for who cannot see them."""
    return ", ".join(f"{head} {mean:.3f}" for head, mean in rows.select("head", "mean").iter_rows())


def f1_at_k(results: Results) -> Drawing:
    """F1@k against k, one panel a backbone, between the ceiling and the floor."""
    points = select(results, metric="f1", by="all").with_columns(x=pl.col("k").cast(pl.Float64))
    if points.is_empty():
        return nothing("No head has results at k: run visagg evaluate.")
    ceiling = select(results, metric="ceiling", by="all").unique("k", keep="first", maintain_order=True).sort("k")
    x, y = numbers(ceiling, "k"), numbers(ceiling, "mean")
    ends = [End(float(y[-1]), "ceiling")] if len(y) else []
    lines = Lines(results, points, spread=0.12)
    figure, panels = lines.panels()
    for backbone, axes in panels.items():
        axes.plot(x, y, color=INK, linestyle=DASH_DOTTED, linewidth=1, zorder=2)
        lines.draw(axes, backbone, ends)
        axes.set_xticks(points["k"].unique().sort().to_list())
    label_outer(list(panels.values()), "k (labels recommended)", "F1@k (mean over users)")
    note = (
        "Ceiling: what a perfect ranking would reach. Floor: popularity, the same labels for everyone. Points are set "
        "apart sideways at each k; bars: 95 % interval over users and seeds."
    )
    return Drawing(figure, f"{note} {ROLES} {OTHERS}", _lines_in_words(lines, panels, "k"))


def set_size(results: Results) -> Drawing:
    """Micro average precision against the number of images in a set, one panel a backbone."""
    points = select(results, metric="micro_ap", by="images").filter(pl.col("head") != FLOOR[1])
    if points.is_empty():
        return nothing("No head has results by set size: run visagg evaluate.")
    sizes = sorted(points["segment"].unique(), key=_first_number)
    position = pl.col("segment").replace_strict(sizes, range(len(sizes)), return_dtype=pl.Float64)
    counts = dict(points.select("segment", "n").iter_rows())
    names = [f"{size.replace('-', '–')}\n{counts[size]:,} sets" for size in sizes]
    lines = Lines(results, points.with_columns(x=position), spread=0.6)
    figure, panels = lines.panels()
    for backbone, axes in panels.items():
        lines.draw(axes, backbone)
        axes.set_xticks(range(len(sizes)), names)
    label_outer(list(panels.values()), "images in the set", "micro average precision")
    note = "Points are set apart sideways at each size; bars: 95 % interval over users and seeds."
    return Drawing(figure, f"{note} {ROLES} {OTHERS}", _lines_in_words(lines, panels, "segment"))


def _lines_in_words(lines: Lines, backbones: Iterable[str], column: str) -> str:
    """The lines with names, from their first point to their last, for who cannot see them."""
    said = []
    for backbone in backbones:
        for head in lines.named(backbone):
            points = lines.points.filter(pl.col("backbone").is_in([backbone, FLOOR[0]]), head=head).sort("x")
            if len(points):
                (first, start), (last, end) = (points.select(column, "mean").row(place) for place in (0, -1))
                said.append(f"{head} on {backbone}: {start:.3f} at {first}, {end:.3f} at {last}.")
    return " ".join(said)


def _first_number(segment: str) -> tuple[int, str]:
    """A key that puts "2" and "1-2" before "10"."""
    digits = segment.partition("-")[0].strip("<>=+ ")
    return (int(digits) if digits.isdecimal() else 1 << 30, segment)
