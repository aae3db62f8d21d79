"""How heads look, the same in every figure: one marker each, a colour and a line by what they are."""

from dataclasses import dataclass, replace

from pipeline.report.results import FLOOR, Results

INK, FAINT, PAPER = "#1c1b19", "#d5d1c8", "#ffffff"
BEST, REFERENCE, OTHER = "#0f4c81", "#d97b29", "#8b8984"
COLOURS = (INK, FAINT, PAPER, BEST, REFERENCE, OTHER)  # all that a figure may hold: the page has others for the dark

MARKERS = "os^Dv<>PXph*d"  # each filled, then hollow: 26 heads that a marker alone tells apart
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))  # one a backbone, where they share a panel

# DejaVu comes with matplotlib, so that every machine sets the same type; text stays text, which is smaller than
# outlines, can be searched and read aloud, and falls back to the reader's own sans serif, which is no wider.
STYLE = {
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


@dataclass(frozen=True)
class Look:
    """How one head is drawn.

    Attributes:
        marker: its own.
        colour: of its role.
        filled: False for a hollow marker.
        line: a line style.
        width: of the line, in points.
        weight: of its name.
        order: what has more is drawn above the rest.
    """

    marker: str
    colour: str
    filled: bool
    line: object
    width: float
    weight: str
    order: float

    def keywords(self) -> dict:
        """As matplotlib wants it."""
        face = self.colour if self.filled else PAPER
        line = {"color": self.colour, "linestyle": self.line, "linewidth": self.width, "zorder": self.order}
        return {**line, "marker": self.marker, "markerfacecolor": face, "markeredgewidth": 0.8}


def of_head(results: Results, backbone: str, head: str) -> Look:
    """How a head of a backbone is drawn in every figure."""
    if head == FLOOR[1]:
        return Look("_", INK, True, DASHES[2], 1, "normal", 2)
    place = results.heads.index(head)
    marker, filled = MARKERS[place % len(MARKERS)], place // len(MARKERS) % 2 == 0
    if head == results.best.get(backbone):
        return Look(marker, BEST, filled, DASHES[0], 1.8, "bold", 6)
    if head == results.reference.get(backbone):
        return Look(marker, REFERENCE, filled, DASHES[1], 1.5, "bold", 5)
    return Look(marker, OTHER, filled, DASHES[0], 0.7, "normal", 4)


def in_legend(results: Results, head: str) -> dict:
    """A head's marker for a legend that several backbones share: its role may differ between them."""
    look = replace(of_head(results, "", head), colour=INK)
    return {**look.keywords(), "linestyle": "none"}
