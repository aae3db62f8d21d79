"""One line a head through its points, one panel a backbone; lines that matter have names, the others are thin."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.plots import styles
from pipeline.report.plots.panels import End, draw_points, make_panels, name_ends, numbers
from pipeline.report.plots.styles import INK
from pipeline.report.results import FLOOR, Results

OTHERS = "Thin and grey: the other heads, by name in the tables."


@dataclass(frozen=True)
class Lines:
    """The lines of all heads.

    Attributes:
        results: for the heads' roles.
        points: the values, with where they stand in column x.
        spread: over which points of the same x are set apart sideways, as a share of the distance between two x.
    """

    results: Results
    points: pl.DataFrame
    spread: float

    def panels(self) -> tuple[Figure, dict[str, Axes]]:
        """A figure with a panel for each backbone that has points, by backbone; there is one in any case."""
        drawn = set(self.points["backbone"])
        backbones = [name for name in self.results.backbones if name in drawn] or self.results.backbones[:1]
        figure, panels = make_panels(len(backbones), (5.2, 2.7))
        return figure, dict(zip(backbones, panels, strict=True))

    def named(self, backbone: str) -> list[str]:
        """Heads whose lines have names: the best, the best published, averaging, and popularity."""
        chosen = (self.results.best.get(backbone), self.results.reference.get(backbone), self.results.average, FLOOR[1])
        return [head for head in chosen if head]

    def draw(self, axes: Axes, backbone: str, ends: Sequence[End] = ()) -> None:
        """Draws a backbone's lines and the floor's, with some names at the right; `ends`: what else has a name."""
        shown = self.points.filter(pl.col("backbone").is_in([backbone, FLOOR[0]]))
        heads = shown.partition_by("head", maintain_order=True)
        steps = np.diff(np.unique(numbers(shown, "x")))
        shifts = np.linspace(-0.5, 0.5, len(heads)) * self.spread * min(steps, default=1)
        named = [*ends]
        for shift, points in zip(shifts, heads, strict=True):
            points = points.sort("x")
            head, x, y = points["head"][0], numbers(points, "x") + shift, numbers(points, "mean")
            style = styles.of_head(self.results, backbone, head)
            if head not in self.named(backbone):
                axes.plot(x, y, color=style.colour, linewidth=style.thickness, zorder=style.order - 1)
                continue
            if head == self.results.average and style.colour == styles.GREY:
                style = replace(style, colour=INK, order=4.5)
            axes.plot(x, y, **{**style.keywords(), "marker": ""})
            draw_points(axes, x, points, style=style)
            named.append(End(float(y[-1]), head, style.colour, style.weight))
        axes.set_title(backbone)
        axes.grid(False, axis="x")
        name_ends(axes, float(numbers(shown, "x").max() + shifts[-1]), named)
