"""What the forms of a table make of text and numbers: nothing in a cell is code to whoever reads it."""

import math
import re
from collections.abc import Iterable

import polars as pl

from pipeline.core.errors import StageError
from pipeline.core.text import printable, shortened
from pipeline.report.table import Table

MOST_DRAWN = 60  # characters of a name in a plot
MOST_SHOWN = 200  # likewise in a table for people
FORMULAS = "=+-@\t\r＝＋－＠"  # a spreadsheet runs a cell that begins so
_MARKUP = re.compile(r"[\\`*~|$\[\]]|(?<!\w)_|_(?!\w)|(?<=:)//|(?<=www)\.")


def drawn(name: str) -> str:
    """A name as a plot shows it: in one line, and not longer than there is room for."""
    return shortened(printable(name), MOST_DRAWN)


def counted(count: int, noun: str) -> str:
    """A number and a noun.

    >>> counted(1, "head"), counted(1200, "user")
    ('1 head', '1,200 users')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def readable(text: str) -> str:
    """A cell's text for people: in one line, and of a length that can be read."""
    return shortened(printable(text), MOST_SHOWN)


def markdown_text(text: str) -> str:
    r"""A text that a Markdown viewer shows as it is, in a table too.

    >>> print(markdown_text("<b> a|b [x](y) average_fc"))
    &lt;b&gt; a\|b \[x\](y) average_fc
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") if re.search("[&<>]", text) else text
    return _MARKUP.sub(lambda found: "".join(f"\\{character}" for character in found.group()), text)


def csv_text(text: str) -> str:
    """A cell's text that no spreadsheet runs: in front of what begins as a formula stands an apostrophe (OWASP).

    A number written as text stays as it is: it is nothing to run.

    >>> csv_text("=1+1"), csv_text("-0.5"), csv_text("hats")
    ("'=1+1", '-0.5', 'hats')
    """
    if not text.lstrip().startswith(tuple(FORMULAS)) and not text.startswith(tuple(FORMULAS)):
        return printable(text)
    return printable(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", text) else f"'{printable(text)}"


def csv_cells(table: str, cells: Iterable[object]) -> list[object]:
    """Cells of a row of CSV: text as `csv_text` has it, numbers as they are; raises StageError on NaN and infinity."""
    cells = list(cells)
    if not all(math.isfinite(cell) for cell in cells if isinstance(cell, float)):
        raise StageError(f"table {table}: a number is NaN or infinite; run the stage that made it again")
    return [csv_text(cell) if isinstance(cell, str) else cell for cell in cells]


def csv_frame(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """A frame for CSV: numbers rounded, text as `csv_text` has it.

    Raises:
        StageError: when a number is NaN or infinite.
    """
    for column in frame.select(pl.col(pl.Float64, pl.Float32)).columns:
        if not frame[column].drop_nulls().is_finite().all():
            raise StageError(f"{name}, column {column}: a number is NaN or infinite; run the stage that made it again")
    texts = frame.select(pl.col(pl.String)).columns
    return frame.with_columns(
        pl.col(pl.Float64).round(6),
        *(pl.Series(name, map(_or_none, frame[name]), pl.String) for name in texts),
    )


def _or_none(text: str | None) -> str | None:
    return None if text is None else csv_text(text)


def require_finite(table: Table) -> None:
    """Raises StageError when a table holds NaN or infinity: the last guard, for results are checked when read."""
    for row in table.rows:
        for column, cell in zip(table.columns, row, strict=True):
            numbers = cell if isinstance(cell, tuple) else (cell,)
            if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
                where = f"table {table.name}, column {printable(column)}"
                raise StageError(f"{where}: a number is NaN or infinite; run the stage that made it again")
