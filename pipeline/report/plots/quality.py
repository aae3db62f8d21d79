"""Plots of how good the heads are: against their size, at k, and by the number of images in a set."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from pipeline.report.plots import styles
from pipeline.report.plots.lines import Lines
from pipeline.report.plots.panels import (
    ROLES,
    draw_points,
    in_words,
    label_outer,
    make_panels,
    named,
    numbers,
    select,
)
from pipeline.report.plots.plot import Drawing, nothing
from pipeline.report.plots.styles import DASH_DOTTED, INK
from pipeline.report.results import FLOOR, Results
from pipeline.report.text import drawn

MOST_HEADS = 40  # a backbone: more have no room on a page
HEAD_HEIGHT = 0.17  # inches
FRONT = "front"
BAND = "Grey band: from the lowest to the highest of the other heads."


def quality_size(results: Results, columns: int = 2) -> Drawing:
    """Micro average precision of each head, the smallest on top, one panel a backbone, with the Pareto front."""
    values = select(results, metric="micro_ap", by="all")
    quality = values.join(results.costs, on=["backbone", "head"], maintain_order="left")
    if quality.is_empty():
        return nothing("No head has both results and a measured size: run visagg cost.")
    backbones = [name for name in results.backbones if name in quality["backbone"]]
    ordered = {backbone: _by_size(results, quality.filter(backbone=backbone)) for backbone in backbones}
    most = max(len(rows) for rows in ordered.values())
    figure, panels = make_panels(len(backbones), (4.2, 0.9 + HEAD_HEIGHT * most), columns, shared=False)
    seen = []
    for axes, (backbone, rows) in zip(panels, ordered.items(), strict=True):
        axes.set_title(backbone)
        _draw_sizes(axes, results, rows)
        front = ", ".join(
            f"{name} ({mean:.3f})" for name, mean in rows.filter(FRONT).select("head", "mean").iter_rows()
        )
        seen.append(f"On {backbone}, {in_words(rows, 'micro AP')}; the front: {front}.")
    label_outer(panels, "micro average precision", "")
    is_cut = len(quality) > sum(len(rows) for rows in ordered.values())
    cut = f" Of each backbone's heads only the best {MOST_HEADS} are drawn." if is_cut else ""
    note = (
        "Beside each head its numbers when folded; the smallest on top. Line: the Pareto front, heads that no smaller "
        f"one matches.{cut} Bars: 95 % interval, users and seeds."
    )
    return Drawing(figure, f"{note} {ROLES}", " ".join(seen))


def _by_size(results: Results, rows: pl.DataFrame) -> pl.DataFrame:
    """One backbone's heads by size, the best first where it is the same; of many, the front and those that are best."""
    rows = rows.sort("folded_parameters", "mean", "head", descending=[False, True, False])
    rows = rows.with_columns((pl.col("mean") > pl.col("mean").cum_max().shift().fill_null(-1)).alias(FRONT))
    if len(rows) <= MOST_HEADS:
        return rows
    kept = pl.col("head").is_in(named(results, rows["backbone"][0]))
    ranked = rows.sort(kept, FRONT, "mean", descending=True, maintain_order=True).head(MOST_HEADS)["head"]
    return rows.filter(pl.col("head").is_in(ranked.to_list()))


def _draw_sizes(axes: Axes, results: Results, rows: pl.DataFrame) -> None:
    """One backbone's heads, a row each, and the front through those that no smaller one matches."""
    heights = -np.arange(len(rows), dtype=np.float64)
    front = rows["front"].to_numpy()
    axes.step(numbers(rows, "mean")[front], heights[front], where="pre", color=INK, linewidth=0.7, zorder=2)
    for height, of_head in zip(heights, rows.iter_slices(1), strict=True):
        style = styles.of_head(results, of_head["backbone"][0], of_head["head"][0])
        draw_points(axes, np.array([height]), of_head, style=style, sideways=True)
    names = [f"{drawn(name)} · {size:,}" for name, size in rows.select("head", "folded_parameters").iter_rows()]
    axes.set_yticks(heights, names)
    axes.set_ylim(0.5 - len(rows), 0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")


def f1_at_k(results: Results, columns: int = 2) -> Drawing:
    """F1@k against k, one panel a backbone, between the ceiling and the floor."""
    points = select(results, metric="f1", by="all").with_columns(x=pl.col("k").cast(pl.Float64))
    if points.is_empty():
        return nothing("No head has results at k: run visagg evaluate.")
    ceiling = select(results, metric="ceiling", by="all").unique("k", keep="first", maintain_order=True).sort("k")
    x, y = numbers(ceiling, "k"), numbers(ceiling, "mean")
    lines = Lines(results, points, spread=0.12)
    figure, panels = lines.panels(columns)
    for backbone, axes in panels.items():
        axes.plot(
            x, y, color=INK, linestyle=DASH_DOTTED, linewidth=1, zorder=8, label="ceiling"
        )  # above all, for it bounds all
        lines.draw(axes, backbone)
        axes.set_xticks(points["k"].unique().sort().to_list())
    label_outer(list(panels.values()), "k (labels recommended)", "F1@k (mean over users)")
    note = (
        "Ceiling: what a perfect ranking would reach. Floor: popularity, the same labels for everyone. "
        f"{BAND} Points are set apart sideways at each k; bars: 95 % interval over users and seeds."
    )
    limits = ", ".join(f"{mean:.3f} at k = {k}" for k, mean in ceiling.select("k", "mean").iter_rows())
    seen = [f"The ceiling is {limits}." if limits else "", _seen(panels, points.filter(k=points["k"].min()), "F1")]
    return Drawing(figure, " ".join(filter(None, [note, results.beyond(), ROLES])), " ".join(filter(None, seen)))


def set_size(results: Results, columns: int = 2) -> Drawing:
    """Micro average precision against the number of images in a set, one panel a backbone."""
    points = select(results, metric="micro_ap", by="images").filter(pl.col("head") != FLOOR[1])
    if points.is_empty():
        return nothing("No head has results by set size: run visagg evaluate.")
    sizes = sorted(points["segment"].unique(), key=_first_number)
    position = pl.col("segment").replace_strict(sizes, range(len(sizes)), return_dtype=pl.Float64)
    counts = dict(points.select("segment", "n").iter_rows())
    names = [f"{size.replace('-', '–')}\n{counts[size]:,} sets" for size in sizes]
    lines = Lines(results, points.with_columns(x=position), spread=0.6)
    figure, panels = lines.panels(columns)
    for backbone, axes in panels.items():
        lines.draw(axes, backbone)
        axes.set_xticks(range(len(sizes)), names)
    label_outer(list(panels.values()), "images in the set", "micro average precision")
    note = f"{BAND} Points are set apart sideways at each size; bars: 95 % interval over users and seeds."
    seen = [
        f"Sets of {size} images: {_seen(panels, points.filter(segment=size), 'micro AP')}"
        for size in dict.fromkeys([sizes[0], sizes[-1]])
    ]
    return Drawing(figure, f"{note} {ROLES}", " ".join(seen))


def _seen(panels: dict[str, Axes], points: pl.DataFrame, what: str) -> str:
    """What heads reach at one x, in words."""
    at = f" at k = {points['k'][0]}" if what == "F1" else ""
    heads = {backbone: points.filter(backbone=backbone) for backbone in panels}
    known = {backbone: rows for backbone, rows in heads.items() if len(rows)}
    return " ".join(f"On {backbone}{at}, {in_words(rows, what)}." for backbone, rows in known.items())


def _first_number(segment: str) -> tuple[int, str]:
    """A key that puts "2" and "1-2" before "10"."""
    digits = segment.partition("-")[0].strip("<>=+ ")
    return (int(digits) if digits.isdecimal() else 1 << 30, segment)
