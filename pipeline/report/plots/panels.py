"""What plots are put together from: panels, points with intervals, and names at the ends of lines.

Names stand where their lines end, in the order of the values, so that nobody compares colours with a legend.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.plots.styles import INK, HeadStyle
from pipeline.report.results import FLOOR, Results

ROLES = "Blue: the best head on validation; orange, dashed: the best published one."
COLUMNS = 2  # panels side by side
NAME_HEIGHT = 0.145  # inches, of a name at the end of a line
NAME_SIZE = 7.5  # points


def select(results: Results, **wanted: str) -> pl.DataFrame:
    """The values of compared pairs and of the floor, in the order of the settings; `wanted` by column."""
    order = [*results.heads, FLOOR[1]]
    known = results.values.filter(
        pl.col("head").is_in(order), pl.col("backbone").is_in([*results.backbones, FLOOR[0]]), **wanted
    )
    by_order = pl.col("head").replace_strict(order, range(len(order)), return_dtype=pl.Int64)
    return known.sort(by_order, "backbone", "segment", "k")


def roles(results: Results, backbone: str) -> dict[str, str]:
    """The two heads of a backbone that matter most, and why; the one head, where it is both."""
    reference = results.reference.get(backbone)
    best = results.best.get(backbone)
    return {**({reference: "best published"} if reference else {}), **({best: "best"} if best else {})}


def named(results: Results, backbone: str) -> list[str]:
    """The heads of a backbone that have a line and a name of their own: those that matter most, and averaging."""
    average = [results.average] if results.average else []
    return list(dict.fromkeys([*roles(results, backbone), *average]))


def in_words(frame: pl.DataFrame, what: str) -> str:
    """What heads reach, from the highest to the lowest: `frame` has their means.

    >>> in_words(pl.DataFrame({"head": ["a", "b"], "mean": [0.25, 0.5]}), "micro AP")
    'micro AP of 2 heads from 0.500 (b) to 0.250 (a)'
    """
    ordered = frame.sort("mean", "head", descending=[True, False])
    best, worst = ordered.row(0, named=True), ordered.row(-1, named=True)
    if len(ordered) == 1:
        return f"{what} of {best['head']} {best['mean']:.3f}"
    ends = f"from {best['mean']:.3f} ({best['head']}) to {worst['mean']:.3f} ({worst['head']})"
    return f"{what} of {len(ordered)} heads {ends}"


def numbers(frame: pl.DataFrame, column: str) -> np.ndarray:
    """A column as float64 [n]."""
    return frame[column].cast(pl.Float64).to_numpy()


def make_panels(
    count: int, size: tuple[float, float], columns: int = COLUMNS, *, shared: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of panels.

    Args:
        count: of panels.
        size: how many inches each is wide and high, and a little more for what surrounds them.
        columns: at most so many stand side by side.
        shared: whether they have the same vertical axis.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    width, height = size
    figure = Figure((width * columns + 0.8, height * rows + 0.8), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=shared).flat)
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def label_outer(panels: list[Axes], x: str, y: str) -> None:
    """Axis labels where no other panel stands below or to the left; ticks are shown below all that end a column."""
    for index, axes in enumerate(panels):
        spec = axes.get_subplotspec()
        assert spec is not None  # panels are made by make_panels
        if index + spec.get_gridspec().ncols >= len(panels):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
        if spec.is_first_col():
            axes.set_ylabel(y)


def draw_points(
    axes: Axes, positions: np.ndarray, rows: pl.DataFrame, *, style: HeadStyle, sideways: bool = False
) -> None:
    """Points at the means of some rows, each with its interval, upright or sideways."""
    means = numbers(rows, "mean")
    bars, at = (axes.hlines, (means, positions)) if sideways else (axes.vlines, (positions, means))
    bars(
        positions,
        numbers(rows, "low"),
        numbers(rows, "high"),
        colors=style.colour,
        linewidth=0.7,
        zorder=style.order,
    )
    axes.plot(*at, **{**style.keywords(), "linestyle": "none"})


@dataclass(frozen=True, order=True)
class End:
    """Where a line ends, and what is written beside it.

    Attributes:
        y: where the line ends.
        name: what it is.
        colour: of the line.
        weight: of the name.
        x: where the line ends, where others end elsewhere.
    """

    y: float
    name: str
    colour: str = INK
    weight: str = "normal"
    x: float | None = None


def name_ends(axes: Axes, x: float, ends: Sequence[End]) -> None:
    """Names right of the axes, as near to the ends of their lines, at x or their own, as they have room."""
    ends = sorted(ends)
    heights = spread_out([end.y for end in ends], name_height(axes), axes.get_ylim())
    for end, height in zip(ends, heights, strict=True):
        axes.annotate(
            end.name,
            xy=(x if end.x is None else end.x, end.y),
            xytext=(1.08, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=NAME_SIZE,
            fontweight=end.weight,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.5,
                "shrinkA": 2,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def name_height(axes: Axes) -> float:
    """A name, in the units of the panel's y axis; the panel is what its row leaves beside titles and ticks."""
    low, high = axes.get_ylim()
    spec, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    assert spec is not None  # panels are made by make_panels
    assert figure is not None
    return (high - low) * NAME_HEIGHT / (figure.get_size_inches()[1] / spec.get_gridspec().nrows - 1)


def spread_out(values: Sequence[float], gap: float, limits: tuple[float, float]) -> np.ndarray:
    """Heights nearest to ascending values that are `gap` apart at least, between the limits as far as they fit.

    Args:
        values: ascending, [n].
        gap: the least distance of neighbours.
        limits: the least height, and the greatest unless n heights do not fit.

    Returns:
        float64 [n], ascending.

    >>> spread_out([0.5, 0.5, 0.9], gap=0.25, limits=(0, 1))
    array([0.375, 0.625, 0.9  ])
    """
    low, high = limits
    steps = gap * np.arange(len(values))
    blocks: list[tuple[float, int]] = []  # mean and size; blocks that would go down are merged, as isotonic fits do
    for value in np.asarray(values) - steps:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] >= mean:
            lower_mean, lower_size = blocks.pop()
            mean = (mean * size + lower_mean * lower_size) / (size + lower_size)
            size += lower_size
        blocks.append((mean, size))
    levels = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
    return np.clip(levels, low, max(low, high - steps[-1])) + steps
