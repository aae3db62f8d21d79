"""How heads are drawn, the same in every plot: a marker of its own for each, a colour and a line by its role."""

from dataclasses import dataclass, replace
from typing import Any

from pipeline.report.results import FLOOR, Results

INK, FAINT, PAPER = "#1c1b19", "#d5d1c8", "#ffffff"
BEST, REFERENCE, GREY = "#0f4c81", "#d97b29", "#8b8984"
COLOURS = (INK, FAINT, PAPER, BEST, REFERENCE, GREY)  # all that a plot may hold: the page has others for the dark

MARKERS = "os^Dv<>PXph*d"  # each filled, then hollow: 26 heads that a marker alone tells apart
Line = str | tuple[float, tuple[float, ...]]  # as matplotlib names a line's dashes
SOLID: Line = "-"
DASHED: Line = (0, (5, 1.5))
DOTTED: Line = (0, (1.5, 1.5))
DASH_DOTTED: Line = (0, (6, 1.5, 1.5, 1.5))

# DejaVu comes with matplotlib, so that every machine sets the same type; text stays text, which is smaller than
# outlines, can be searched and read aloud, and falls back to the reader's own sans serif, which is no wider.
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.parse_math": False,  # a label may well hold dollar signs
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 0.9,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
}


@dataclass(frozen=True, kw_only=True)
class HeadStyle:
    """How one head is drawn.

    Attributes:
        marker: matplotlib's name of it.
        colour: of its role.
        filled: False for a hollow marker.
        line: its dashes.
        thickness: of the line, in points.
        weight: of its name.
        order: what has more is drawn above the rest.
    """

    marker: str
    colour: str = GREY
    filled: bool = True
    line: Line = SOLID
    thickness: float = 0.7
    weight: str = "normal"
    order: float = 4

    def keywords(self) -> dict[str, Any]:
        """As matplotlib wants it."""
        face = self.colour if self.filled else PAPER
        line = {"color": self.colour, "linestyle": self.line, "linewidth": self.thickness, "zorder": self.order}
        return {**line, "marker": self.marker, "markerfacecolor": face, "markeredgewidth": 0.8}


def of_head(results: Results, backbone: str, head: str) -> HeadStyle:
    """How a head of a backbone is drawn in every plot."""
    if head == FLOOR[1]:
        return HeadStyle(marker="_", colour=INK, line=DOTTED, thickness=1, order=2)
    turn, index = divmod(results.heads.index(head), len(MARKERS))
    style = HeadStyle(marker=MARKERS[index], filled=turn % 2 == 0)
    if head == results.best.get(backbone):
        return replace(style, colour=BEST, thickness=1.8, weight="bold", order=6)
    if head == results.reference.get(backbone):
        return replace(style, colour=REFERENCE, line=DASHED, thickness=1.5, weight="bold", order=5)
    return style
