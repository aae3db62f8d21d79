"""From a plot's function to its SVG: the same bytes from the same results, text kept as text."""

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pipeline.core.text import printable
from pipeline.report.origin import origin, source
from pipeline.report.plots.panels import COLUMNS
from pipeline.report.plots.styles import SETTINGS
from pipeline.report.results import Results

CHARACTERS_AN_INCH = 15.5  # of the note
TITLE_AN_INCH = 10.5  # likewise
LINE_HEIGHT = 0.14  # inches


@dataclass(frozen=True)
class Drawing:
    """A plot without its title.

    Attributes:
        figure: matplotlib's.
        note: how to read it; "" where there is nothing to read.
        seen: what it shows, for who cannot see it; "": the title says it.
    """

    figure: Figure
    note: str
    seen: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot that the report has.

    Attributes:
        name: stem of its file.
        title: one line.
        drawn: from the results, and how many panels may stand side by side: 1 on a narrow screen.
    """

    name: str
    title: str
    drawn: Callable[[Results, int], Drawing]


@dataclass(frozen=True)
class Picture:
    """A plot as it was drawn.

    Attributes:
        name: the plot's.
        title: likewise.
        svg: what its file holds.
        narrow: the same for a narrow screen.
        seen: what it shows, for who cannot see it; "": the title says it.
    """

    name: str
    title: str
    svg: str
    narrow: str
    seen: str = ""


def draw(plots: Sequence[Plot], results: Results, folder: Path) -> list[Picture]:
    """Draws plots and writes them as NAME.svg.

    Args:
        plots: which ones.
        results: what is drawn. A plot for which they hold nothing says so in place of its axes.
        folder: where the files go.
    """
    pictures = []
    for plot in plots:
        (svg, seen), (narrow, _) = (_drawn(plot, results, columns) for columns in (COLUMNS, 1))
        (folder / f"{plot.name}.svg").write_text(svg, encoding="utf-8")
        pictures.append(Picture(plot.name, plot.title, svg, narrow, seen))
    return pictures


def _drawn(plot: Plot, results: Results, columns: int) -> tuple[str, str]:
    """A plot as SVG, and what is seen on it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
        matplotlib.rcParams.update({**SETTINGS, "svg.hashsalt": plot.name})
        drawing = plot.drawn(results, columns)
        return _svg(finish(drawing, plot.title, results), plot.title), drawing.seen


def nothing(reason: str) -> Drawing:
    """In place of a plot for which there are no results: why, and what to run."""
    figure = Figure((5, 1.4), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0, 0.5, reason, va="center")
    return Drawing(figure, "", reason)


def finish(drawing: Drawing, title: str, results: Results) -> Figure:
    """Adds the title and, below, how to read the plot, what is missing, and where the data are from."""
    figure, sentences = drawing.figure, [drawing.note] if drawing.note else []
    if results.missing:
        sentences.append(f"Missing: {', '.join(' '.join(pair) for pair in results.missing)}.")
    sentences.append(origin(results.data, "Simulated"))
    width, height = figure.get_size_inches()
    heading = textwrap.fill(f"{title} ({source(results.data)})", int(width * TITLE_AN_INCH))
    figure.suptitle(heading, x=0.008, ha="left", fontsize=10, fontweight="bold")
    text = textwrap.fill(" ".join(sentences), int(width * CHARACTERS_AN_INCH))
    more = max(0, text.count("\n") + heading.count("\n") - 1)
    figure.set_size_inches(width, height + LINE_HEIGHT * more)  # a long note takes nothing from the panels
    figure.supxlabel(text, x=0.008, ha="left", fontsize=7.5)
    return figure


def _svg(figure: Figure, title: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    lines = out.getvalue().rstrip("\n").split("\n")
    return "\n".join(printable(line.rstrip()) for line in lines) + "\n"
