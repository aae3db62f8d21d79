"""The plot of how training went."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.report.plots.panels import numbers
from pipeline.report.plots.plot import Drawing, nothing
from pipeline.report.plots.styles import BEST, FAINT, LINES
from pipeline.report.results import Results

MOST_COLUMNS = 5
PANEL = (1.75, 1.35)  # inches


def training(results: Results) -> Drawing:
    """Validation micro average precision against the epoch, one panel a head."""
    known = results.history.filter(pl.col("head").is_in(results.heads), pl.col("backbone").is_in(results.backbones))
    if known.is_empty():
        return nothing("No head has a training history: run visagg train.")
    mean, low, high = pl.col("micro_ap").mean(), pl.col("micro_ap").min(), pl.col("micro_ap").max()
    curves = known.group_by("backbone", "head", "epoch").agg(mean=mean, low=low, high=high).sort("epoch")
    span = curves.group_by("epoch").agg(low=pl.col("mean").min(), high=pl.col("mean").max()).sort("epoch")
    heads = [name for name in results.heads if name in known["head"]]
    backbones = [name for name in results.backbones if name in known["backbone"]]
    figure, panels = _make_panels(len(heads))
    for axes, head in zip(panels, heads, strict=True):
        _band(axes, span, FAINT, opacity=0.5)
        for index, backbone in enumerate(backbones):
            curve = curves.filter(backbone=backbone, head=head)
            _band(axes, curve, BEST, opacity=0.2)
            line: dict[str, Any] = {"linestyle": LINES[index % len(LINES)], "linewidth": 1.2, "zorder": 3}
            axes.plot(numbers(curve, "epoch"), numbers(curve, "mean"), color=BEST, label=backbone, **line)
        axes.set_title(head)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", title="backbone", alignment="left", handlelength=3.4)
    note = (
        "At the chosen learning rate. Line: mean over the seeds that are still training; blue band: their range; grey "
        "band: all heads and backbones."
    )
    return Drawing(figure, note)


def _make_panels(count: int) -> tuple[Figure, list[Axes]]:
    """Small panels, with labels where no other stands below or to the left."""
    rows = -(-count // MOST_COLUMNS)
    columns = -(-count // rows)
    figure = Figure((1.0 + PANEL[0] * columns, 1.1 + PANEL[1] * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[count:]:
        axes.remove()
    figure.supylabel("micro average precision on validation", fontsize=8)
    for axes in panels[max(0, count - columns) : count]:
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def _band(axes: Axes, rows: pl.DataFrame, colour: str, *, opacity: float) -> None:
    """The range between low and high, over the epochs."""
    x, low, high = (numbers(rows, column) for column in ("epoch", "low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=opacity, linewidth=0, zorder=1 if colour == FAINT else 2)
