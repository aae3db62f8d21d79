"""The report as one page: tables that sort, plots, and the gallery, in one file that needs no network.

The template holds the design, page.js what happens on a click; here cells get their text and their sort key, and
plots the colours of the page.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.core.errors import StageError
from pipeline.core.files import write_aside
from pipeline.core.text import printable
from pipeline.report.finding import finding
from pipeline.report.origin import origin, source
from pipeline.report.plots import styles
from pipeline.report.plots.plot import Picture
from pipeline.report.results import Results
from pipeline.report.table import MISSING, Cell, Measured, Table
from pipeline.report.text import readable, require_finite

TEMPLATE = Path(__file__).parent / "template"
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")  # what a cell of text may begin with
COLOUR_NAMES = dict(zip(styles.COLOURS, ("ink", "faint", "paper", "best", "reference", "grey"), strict=True))
PIXELS_A_POINT = 4 / 3


@dataclass(frozen=True)
class PageCell:
    """A cell as the page shows it.

    Attributes:
        text: what is read; "" for an empty cell.
        interval: "[low, high]" and marks, or "".
        key: what it is sorted by: a number, or None where only the text can be.
        missing: whether it stands for a value that is not there; such cells are last in either order.
    """

    text: str
    interval: str = ""
    key: float | int | None = None
    missing: bool = False


def write(
    path: Path, results: Results, tables: Sequence[Table], *, pictures: Sequence[Picture], gallery: dict | None
) -> None:
    """Writes the page; the same arguments give the same bytes.

    Args:
        path: of the page.
        results: for the head of the page: where the data are from, what is best, what is missing.
        tables: in the order in which they are shown.
        pictures: the plots, likewise.
        gallery: what `visagg gallery` wrote, or None: the page then says how to have one.
    """
    for table in tables:
        require_finite(table)
    if not _finite(gallery):
        raise StageError("the gallery holds NaN or infinity: run visagg gallery again")
    text = (
        _environment()
        .get_template("page.html")
        .render(
            source=source(results.data),
            simulated=results.data["simulated"],
            origin=_origin(results.data),
            finding=finding(results),
            glance=glance(results),
            seen=results.seen(),
            missing=results.missing,
            tables=[_table(table) for table in tables],
            plots=[_plot(picture) for picture in pictures],
            gallery=gallery,
            answers=_answers(gallery, results) if gallery else None,
        )
    )
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_plain,
    )
    environment.filters["breakable"] = _breakable
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    return environment


def _plain(value: object) -> object:
    """What the template shows: text from elsewhere in one line; what is markup already, as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """A cell's text, which may go on in the next line behind an underscore."""
    return Markup(str(escape(text)).replace("_", "_<wbr>"))  # noqa: S704 (escaped)


def _finite(value: object) -> bool:
    """Whether all numbers in JSON values are finite."""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def glance(results: Results) -> list[dict]:
    """Each backbone's best head and best published head, with their micro average precision on test."""
    roles = {"best on validation": results.best, "best published head": results.reference}
    rows = []
    for backbone in results.backbones:
        heads = [
            {"role": role, "name": chosen[backbone], "value": _micro_ap(results, backbone, chosen[backbone])}
            for role, chosen in roles.items()
            if backbone in chosen
        ]
        if heads:
            rows.append({"backbone": backbone, "heads": heads})
    return rows


def page_cell(cell: Cell) -> PageCell:
    """A table's cell as it is shown and sorted; text that begins with a number sorts by it."""
    if isinstance(cell, Measured):
        interval = f"[{cell.low:.3f}, {cell.high:.3f}] {cell.marks}".rstrip()
        return PageCell(f"{cell.value:.3f}", interval, cell.value)
    if isinstance(cell, int | float):
        return PageCell(f"{cell:,}" if isinstance(cell, int) else str(cell), key=cell)
    if cell in (MISSING, ""):
        return PageCell(cell, missing=True)
    number = NUMBER.match(cell)
    return PageCell(readable(cell), key=float(number.group()) if number else None)


def inline(picture: Picture, svg: str, prefix: str) -> Markup:
    """A plot as a part of a page: ids that no other plot has, and the page's colours, which follow light and dark.

    Args:
        picture: whose title and words stand for it where it is not seen.
        svg: one of its forms.
        prefix: of its ids.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<title>.*?</title>", "", svg, count=2, flags=re.DOTALL)
    svg = re.sub("<[^>]+>", lambda tag: _adapted(tag.group(), prefix), svg)  # and never the text between
    opening, _, body = svg.partition(">")
    width = float(re.findall(r'viewBox="0 0 ([\d.]+)', opening)[0]) * PIXELS_A_POINT
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening).removeprefix("<svg")
    label = escape(printable(f"{picture.title}. {picture.seen}" if picture.seen else picture.title))
    attributes = f'role="img" aria-label="{label}" style="--width: {width:.0f}px"'
    svg = f"<svg {attributes}{opening}>{body}"
    return Markup(re.sub(r"\s*\n\s*", "\n", svg))  # noqa: S704 (drawn by this package, which escapes its text)


def _plot(picture: Picture) -> dict:
    """A plot for the template, as wide screens and as narrow ones show it."""
    narrow = f"{picture.name}-narrow"
    return {
        "name": picture.name,
        "wide": inline(picture, picture.svg, picture.name),
        "narrow": inline(picture, picture.narrow, narrow),
    }


def _adapted(tag: str, prefix: str) -> str:
    tag = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{prefix}-", tag)
    for colour, variable in COLOUR_NAMES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag


def _origin(data: dict) -> Markup:
    """Where the data are from, with the word for simulated data in bold."""
    escaped = {**data, "source": escape(data["source"])}
    return Markup(origin(escaped, "<strong>Simulated</strong>"))  # noqa: S704 (what is not of this package is escaped)


def _table(table: Table) -> dict:
    """A table for the template. A column is numeric when a cell has a number and no other is text without one.

    The columns that are shown first stand first, and those that are shown on demand have the class "more".
    """
    first = [name for name in table.first if name in table.columns]
    rest = [name for name in table.columns if name not in first]
    order = [table.columns.index(name) for name in (*first, *rest)]
    names = [table.columns[index] for index in order]
    rows = [[page_cell(row[index]) for index in order] for row in table.rows]
    fixed = names.index("head") if "head" in names else 0  # the column that stays in sight
    columns = []
    for index, name in enumerate(names):
        present = [row[index] for row in rows if not row[index].missing]
        numeric = bool(present) and all(cell.key is not None for cell in present)
        kinds = ["name" if index == fixed else "number" if numeric else ""]
        kinds += ["more"] * (bool(first) and name not in first)
        columns.append((name, " ".join(filter(None, kinds))))
    notes = [_note(text) for text in re.split(r"(?<=\.)\n", table.notes)]  # a line that goes on is no paragraph
    more = len(rest) if first else 0
    return {"name": table.name, "title": table.title, "columns": columns, "rows": rows, "notes": notes, "more": more}


def _note(text: str) -> Markup:
    """A paragraph under a table, with commands as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


def _micro_ap(results: Results, backbone: str, head: str) -> PageCell:
    row = results.value((backbone, head), "micro_ap")
    return page_cell(Measured(row["mean"], row["low"], row["high"]) if row else MISSING)


def _answers(gallery: dict, results: Results) -> dict:
    """What the page's program needs of the gallery: all but the images, and which two pairs are shown first."""
    pairs = [tuple(pair) for pair in gallery["pairs"]]
    chosen = [
        (backbone, heads[backbone])
        for backbone in results.backbones
        for heads in (results.best, results.reference)
        if backbone in heads
    ]
    first = dict.fromkeys([pair for pair in chosen if pair in pairs] + pairs)
    users = [{"true": user["true"], "answers": user["answers"]} for user in gallery["users"]]
    labels = [printable(label) for label in gallery["labels"]]
    return {"labels": labels, "shown": [pairs.index(pair) for pair in first][:2], "users": users}
