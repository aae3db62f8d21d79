"""Plots of how good the heads are: against their size, at k, and by the number of images in a set."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from pipeline.report.plots import styles
from pipeline.report.plots.lines import Lines
from pipeline.report.plots.panels import (
    NAME_HEIGHT,
    NAME_SIZE,
    ROLES,
    End,
    draw_points,
    label_outer,
    make_panels,
    name_height,
    numbers,
    select,
    spread_out,
)
from pipeline.report.plots.plot import Drawing, nothing
from pipeline.report.plots.styles import DASH_DOTTED, INK
from pipeline.report.results import FLOOR, Results


def quality_size(results: Results) -> Drawing:
    """Micro average precision against folded parameters, one panel a backbone, with the Pareto front."""
    values = select(results, metric="micro_ap", by="all")
    quality = values.join(results.costs, on=["backbone", "head"], maintain_order="left")
    if quality.is_empty():
        return nothing("No head has both results and a measured size: run visagg cost.")
    backbones = [name for name in results.backbones if name in quality["backbone"]]
    heads = [name for name in results.heads if name in quality["head"]]
    figure, panels = make_panels(len(backbones), (4.1, max(3.4, 1.2 + NAME_HEIGHT * len(heads))))
    sizes = numbers(quality, "folded_parameters")
    smallest, largest = float(sizes.min()), float(sizes.max())
    left = smallest * min(0.3, (smallest / largest) ** 0.6)  # room for the first name of the front
    for axes, backbone in zip(panels, backbones, strict=True):
        axes.set(title=backbone, xscale="log", xlim=(left, largest * 1.3))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _draw_sizes(axes, results, quality.filter(backbone=backbone))
    label_outer(panels, "parameters of the head, folded (count, log scale)", "micro average precision")
    handles = [Line2D([], [], **styles.in_legend(results, head)) for head in heads]
    figure.legend(handles, heads, loc="outside right upper", title="head", alignment="left")
    note = "Line: the Pareto front, heads that no smaller head matches, by name. Bars: 95 % interval, users and seeds."
    return Drawing(figure, f"{note} {ROLES}")


def _draw_sizes(axes: Axes, results: Results, rows: pl.DataFrame) -> None:
    """One backbone's heads, and the front through those that no smaller one matches."""
    points = rows.sort("folded_parameters", "mean", descending=[False, True], maintain_order=True)
    front = points.filter(pl.col("mean") > pl.col("mean").cum_max().shift().fill_null(-1))
    x, y = numbers(front, "folded_parameters"), numbers(front, "mean")
    axes.step(x, y, where="post", color=INK, linewidth=0.7, zorder=2)
    for of_head in points.partition_by("head", maintain_order=True):
        style = styles.of_head(results, of_head["backbone"][0], of_head["head"][0])
        draw_points(axes, numbers(of_head, "folded_parameters"), of_head, style=style)
    heights = spread_out(y.tolist(), name_height(axes), axes.get_ylim())
    for name, at, height in zip(front["head"], x, heights, strict=True):  # above and left: no other point can be there
        axes.annotate(name, (at, height), xytext=(-5, 1), textcoords="offset points", ha="right", fontsize=NAME_SIZE)


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
    return Drawing(figure, f"{note} {ROLES}")


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
    return Drawing(figure, f"{note} {ROLES}")


def _first_number(segment: str) -> tuple[int, str]:
    """A key that puts "2" and "1-2" before "10"."""
    digits = segment.partition("-")[0].strip("<>=+ ")
    return (int(digits) if digits.isdecimal() else 1 << 30, segment)
