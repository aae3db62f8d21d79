"""The report as one page: tables that sort, figures, and the gallery, in one file that needs no network.

The template holds the design, page.js what happens on a click; here cells get their text and their sort key, and
figures the colours of the page.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline import files
from pipeline.report import figures as drawing
from pipeline.report import looks
from pipeline.report.results import Results

if TYPE_CHECKING:
    from pipeline.report.tables import Table

TEMPLATE = Path(__file__).parent / "template"
MISSING = ("missing", "")
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")  # what a cell of text may begin with
COLOUR_NAMES = dict(zip(looks.COLOURS, ("ink", "faint", "paper", "best", "reference", "other"), strict=True))


@dataclass(frozen=True)
class Cell:
    """A cell as the page shows it.

    Attributes:
        text: what is read; "" for an empty cell.
        interval: "[low, high]" and marks, or "".
        key: what it is sorted by: a number, or None where only the text can be.
        missing: whether it stands for a figure that is not there; such cells are last in either order.
    """

    text: str
    interval: str = ""
    key: float | int | None = None
    missing: bool = False


def write(
    results: Results, tables: Sequence["Table"], figures: dict[str, str], gallery: dict | None, path: Path
) -> None:
    """Writes the page; the same arguments give the same bytes.

    Args:
        results: for the head of the page: where the data are from, what is best, what is missing.
        tables: in the order in which they are shown.
        figures: SVG text by name, as `figures.draw` returns it.
        gallery: what `visagg gallery` wrote, or None: the page then says how to have one.
        path: of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("page.html").render(
        data=results.data,
        glance=glance(results),
        seen=results.seen(),
        missing=results.missing,
        tables=[_table(table) for table in tables],
        figures=[(name, inline(svg, name)) for name, svg in figures.items()],
        gallery=gallery,
        answers=_answers(gallery, results) if gallery else None,
    )
    with files.write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def glance(results: Results) -> list[dict]:
    """Each backbone's best head and best published head, with their micro average precision on test."""
    rows = []
    for backbone in results.backbones:
        chosen = {"best": results.best.get(backbone), "reference": results.reference.get(backbone)}
        if any(chosen.values()):
            cells = {f"{role}_figure": _figure(results, backbone, head) for role, head in chosen.items()}
            rows.append({"backbone": backbone, **chosen, **cells})
    return rows


def cell(content: object) -> Cell:
    """A table's cell, text or number or (value, low, high), as it is shown and sorted."""
    if isinstance(content, tuple):
        value, low, high, *marks = content
        return Cell(f"{value:.3f}", " ".join([f"[{low:.3f}, {high:.3f}]", *filter(None, marks)]), value)
    if isinstance(content, int | float):
        return Cell(f"{content:,}" if isinstance(content, int) else str(content), key=content)
    text = "" if content is None else str(content)
    if text in MISSING:
        return Cell(text, missing=True)
    number = NUMBER.match(text)
    return Cell(text, key=float(number.group()) if number else None)


def inline(svg: str, name: str) -> Markup:
    """A figure as a part of a page: ids that are its own, and the page's colours, which follow light and dark.

    Args:
        svg: as `figures.draw` returns it.
        name: of the figure.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<title>.*?</title>", "", svg, count=2, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in COLOUR_NAMES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg).group(1)
    opening = f'<svg role="img" aria-label="{drawing.TITLES[name]}" style="--width: {float(width) * 4 / 3:.0f}px"'
    svg = re.sub(r'<svg( [^>]*?)? width="[^"]*"', opening + r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return Markup(re.sub(r"\s*\n\s*", "\n", svg))  # noqa: S704 (drawn by this package, which escapes its text)


def _table(table: "Table") -> dict:
    """A table for the template. A column is numeric when a cell has a number and no other is text without one."""
    rows = [[cell(content) for content in row] for row in table.rows]
    name = table.columns.index("head") if "head" in table.columns else 0  # the column that stays in sight
    kinds = []
    for place, own in enumerate(zip(*rows) if rows else [()] * len(table.columns)):
        present = [one for one in own if not one.missing]
        numeric = bool(present) and all(one.key is not None for one in present)
        kinds.append("name" if place == name else "number" if numeric else "")
    notes = re.split(r"(?<=[.:])\n", table.notes)  # a line that goes on in the next is no paragraph
    columns = list(zip(table.columns, kinds))
    return {"name": table.name, "title": table.title, "columns": columns, "rows": rows, "notes": notes}


def _figure(results: Results, backbone: str, head: str | None) -> Cell:
    rows = results.figures.filter(pl.col("k").is_null(), backbone=backbone, head=head, metric="micro_ap", by="all")
    return cell(rows.select("mean", "low", "high").row(0)) if len(rows) else cell("missing")


def _answers(gallery: dict, results: Results) -> dict:
    """What the page's program needs of the gallery: all but the images, and which two pairs are shown first."""
    pairs = [tuple(pair) for pair in gallery["pairs"]]
    chosen = [
        (backbone, roles[backbone])
        for backbone in results.backbones
        for roles in (results.best, results.reference)
        if backbone in roles
    ]
    first = dict.fromkeys([pair for pair in chosen if pair in pairs] + pairs)
    users = [{"true": user["true"], "answers": user["answers"]} for user in gallery["users"]]
    return {"labels": gallery["labels"], "shown": [pairs.index(pair) for pair in first][:2], "users": users}
