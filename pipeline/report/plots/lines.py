"""Lines of the heads that matter most, and a band for all others, one panel a backbone."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.plots import styles
from pipeline.report.plots.panels import draw_points, make_panels, named, numbers
from pipeline.report.plots.styles import GREY
from pipeline.report.results import FLOOR, Results
from pipeline.report.text import counted, drawn

PANEL = (3.9, 3.4)  # inches


@dataclass(frozen=True)
class Lines:
    """The lines of heads.

    Attributes:
        results: for the heads' roles.
        points: the values, with where they stand in column x.
        spread: over which points of the same x are set apart sideways, as a share of the distance between two x.
    """

    results: Results
    points: pl.DataFrame
    spread: float

    def panels(self, columns: int) -> tuple[Figure, dict[str, Axes]]:
        """A figure with a panel for each backbone that has points, by backbone; there is one in any case."""
        known = set(self.points["backbone"])
        backbones = [name for name in self.results.backbones if name in known] or self.results.backbones[:1]
        figure, panels = make_panels(len(backbones), PANEL, columns)
        return figure, dict(zip(backbones, panels, strict=True))

    def draw(self, axes: Axes, backbone: str) -> None:
        """Draws a backbone's lines and the floor's, with a legend at the right."""
        shown = self.points.filter(pl.col("backbone").is_in([backbone, FLOOR[0]]))
        apart = [*named(self.results, backbone), FLOOR[1]]
        heads = shown.filter(pl.col("head").is_in(apart)).partition_by("head", maintain_order=True)
        steps = np.diff(np.unique(numbers(shown, "x")))
        shifts = np.linspace(-0.5, 0.5, len(heads)) * self.spread * min(steps, default=1)
        _band(axes, shown.filter(~pl.col("head").is_in(apart)))
        for shift, points in zip(shifts, heads, strict=True):
            points = points.sort("x")
            head, x, y = points["head"][0], numbers(points, "x") + shift, numbers(points, "mean")
            style = styles.of_head(self.results, backbone, head)
            axes.plot(x, y, **{**style.keywords(), "marker": ""})
            draw_points(axes, x, points, style=style)
            axes.plot([], [], label=drawn(head), **style.keywords())  # for the legend: dashes and marker
        axes.set_title(backbone)
        axes.grid(False, axis="x")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3.2, borderaxespad=0.2)


def _band(axes: Axes, others: pl.DataFrame) -> None:
    """The range of the heads that have no line."""
    if others.is_empty():
        return
    means = others.group_by("x").agg(low=pl.col("mean").min(), high=pl.col("mean").max()).sort("x")
    x, low, high = (numbers(means, column) for column in ("x", "low", "high"))
    name = counted(others["head"].n_unique(), "other head")
    axes.fill_between(x, low, high, color=GREY, alpha=0.25, linewidth=0, zorder=1, label=name)
    axes.vlines(x, low, high, colors=GREY, linewidth=0.7, zorder=1)
