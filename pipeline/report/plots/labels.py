"""The plot of single labels."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.report.plots import styles
from pipeline.report.plots.panels import draw_points, numbers, roles, select
from pipeline.report.plots.plot import Drawing, nothing
from pipeline.report.plots.styles import HeadStyle
from pipeline.report.results import Results
from pipeline.report.text import drawn

METRICS = ("precision", "recall")
MOST_LABELS = 60  # a label more has no room on a page
LABEL_HEIGHT = 0.165  # inches
LEGEND_HEIGHT = 0.45  # inches, above a backbone's panels
APART = 0.32  # points of two heads at a label, as a share of its row


def labels(results: Results) -> Drawing:
    """Precision and recall of every label, most frequent first, of the best head and of the best published head."""
    values = select(results, by="label").filter(pl.col("metric").is_in(METRICS))
    backbones = [name for name in results.backbones if name in values["backbone"] and name in results.best]
    if not backbones:
        return nothing("No head has results by label: run visagg evaluate.")
    frequency = values.group_by("segment").agg(pl.col("n").max()).sort(["n", "segment"], descending=[True, False])
    shown = frequency if len(frequency) <= MOST_LABELS else _both_ends(frequency, MOST_LABELS)
    height = LABEL_HEIGHT * len(shown) + 0.55
    figure = Figure((6.0, (height + LEGEND_HEIGHT) * len(backbones) + 0.9), layout="constrained")
    grid = figure.subplots(len(backbones), len(METRICS), sharex=True, sharey=True, squeeze=False)
    for panels, backbone in zip(grid, backbones, strict=True):
        shown_heads = roles(results, backbone)  # from below
        head_styles = {head: styles.of_head(results, backbone, head) for head in shown_heads}
        for axes, metric in zip(panels, METRICS, strict=True):
            _draw(axes, values.filter(backbone=backbone, metric=metric), shown, head_styles=head_styles)
            axes.set_title(f"{backbone}: {metric}")
        handles = [Line2D([], [], **style.keywords()) for style in head_styles.values()]
        names = [f"{head} ({role})" for head, role in shown_heads.items()]
        above = {"loc": "lower right", "bbox_to_anchor": (1, 1 + 0.25 / height), "borderaxespad": 0}
        panels[1].legend(handles[::-1], names[::-1], **above, handlelength=3)
    grid[0, 0].set_xlim(max(-0.02, float(numbers(values, "low").min()) - 0.05), 1.02)
    for axes, metric in zip(grid[-1], METRICS, strict=True):
        axes.set_xlabel(f"{metric} of the label (share, 0 to 1)")
    rest = len(frequency) - len(shown)
    cut = f" The most and the least frequent; {rest:,} labels between them are in the tables." if rest else ""
    note = f"In brackets the test sets that have the label.{cut} Bars: 95 % interval over users and seeds."
    return Drawing(figure, note, _in_words(results, values, backbones))


def _in_words(results: Results, values: pl.DataFrame, backbones: list[str]) -> str:
    """The hardest labels of the best head of each backbone, for who cannot see them."""
    said = []
    for backbone in backbones:
        of_best = values.filter(backbone=backbone, head=results.best[backbone], metric="recall").sort("mean", "segment")
        hardest = ", ".join(
            f"{name} {mean:.2f}" for name, mean in of_best.head(3).select("segment", "mean").iter_rows()
        )
        said.append(f"{results.best[backbone]} on {backbone} has the lowest recall of {hardest}.")
    return " ".join(said)


def _draw(axes: Axes, values: pl.DataFrame, shown: pl.DataFrame, *, head_styles: dict[str, HeadStyle]) -> None:
    """Some heads' values, a row a label, those shown first on top."""
    heights = {name: -float(index) for index, name in enumerate(shown["segment"])}
    lowest = -APART * (len(head_styles) - 1) / 2
    for index, (head, style) in enumerate(head_styles.items()):
        rows = values.filter(pl.col("segment").is_in(list(heights)), head=head)
        positions = np.array([heights[name] for name in rows["segment"]])
        draw_points(axes, positions + lowest + APART * index, rows, style=style, sideways=True)
    axes.set_yticks(list(heights.values()), [f"{drawn(name)} ({n:,})" for name, n in shown.iter_rows()])
    axes.set_ylim(0.4 - len(heights), 0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _both_ends(frequency: pl.DataFrame, count: int) -> pl.DataFrame:
    return pl.concat([frequency.head(count // 2), frequency.tail(count - count // 2)])
