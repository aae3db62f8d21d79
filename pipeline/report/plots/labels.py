"""The plot of single labels."""

import itertools

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
LEGEND_HEIGHT = 30  # points, between a panel and its title
APART = 0.32  # points of two heads at a label, as a share of its row


def labels(results: Results, columns: int = 2) -> Drawing:
    """Precision and recall of every label, most frequent first, of the best head and of the best published head."""
    values = select(results, by="label").filter(pl.col("metric").is_in(METRICS))
    backbones = [name for name in results.backbones if name in values["backbone"] and name in results.best]
    if not backbones:
        return nothing("No head has results by label: run visagg evaluate.")
    frequency = values.group_by("segment").agg(pl.col("n").max()).sort(["n", "segment"], descending=[True, False])
    shown = frequency if len(frequency) <= MOST_LABELS else _both_ends(frequency, MOST_LABELS)
    height = LABEL_HEIGHT * len(shown) + 0.75
    count = len(METRICS) * len(backbones)
    rows = -(-count // columns)
    figure = Figure((4.0 * columns + 0.9, (height + 0.2) * rows + 1.2), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for index, (backbone, metric) in enumerate(itertools.product(backbones, METRICS)):
        axes, of_backbone = panels[index], values.filter(backbone=backbone, metric=metric)
        shown_heads = roles(results, backbone)  # from below
        head_styles = {head: styles.of_head(results, backbone, head) for head in shown_heads}
        _draw(axes, of_backbone, shown, head_styles=head_styles)
        axes.set_title(f"{backbone}: {metric}", pad=LEGEND_HEIGHT)
        axes.set_xlabel(f"{metric} of the label (share, 0 to 1)")
        axes.tick_params(labelbottom=True)
        handles = [Line2D([], [], **style.keywords()) for style in head_styles.values()]
        names = [f"{head} ({role})" for head, role in shown_heads.items()]
        if metric == METRICS[0]:
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
            axes.legend(handles[::-1], names[::-1], handlelength=3, borderpad=0, **place)
    panels[0].set_xlim(max(-0.02, float(numbers(values, "low").min()) - 0.05), 1.02)
    rest = len(frequency) - len(shown)
    cut = f" The most and the least frequent; {rest:,} labels between them are in the tables." if rest else ""
    note = f"In brackets the test sets that have the label.{cut} Bars: 95 % interval over users and seeds."
    return Drawing(figure, note, _seen(results, values.filter(metric="recall"), backbones))


def _seen(results: Results, recall: pl.DataFrame, backbones: list[str]) -> str:
    """Which labels the best head finds most and least often, in words."""
    sentences = []
    for backbone in backbones:
        rows = recall.filter(backbone=backbone, head=results.best[backbone]).sort("mean", "segment")
        if len(rows):
            low, high = rows.row(0, named=True), rows.row(-1, named=True)
            ends = f"from {high['mean']:.3f} ({drawn(high['segment'])}) to {low['mean']:.3f} ({drawn(low['segment'])})"
            sentences.append(f"On {backbone}, {results.best[backbone]} has recall {ends}.")
    return " ".join(sentences)


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
