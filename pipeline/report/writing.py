"""Tables and metric values to files: Markdown for people, CSV and JSON for programs, LaTeX for papers.

Text from elsewhere, such as a label's name, is nothing but text in each of them. In CSV a cell of text that a
spreadsheet would run as a formula has an apostrophe in front (`report/text.py`); numbers, negative ones too, stay
numbers. No file holds NaN or infinity.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl
from tabulate import tabulate

from pipeline.core.files import json_text, write_aside
from pipeline.core.text import printable
from pipeline.metrics.measure import main_values
from pipeline.project import Project
from pipeline.report.origin import origin
from pipeline.report.results import FLOOR, Results
from pipeline.report.statistics import Pair
from pipeline.report.table import Cell, Measured, Table
from pipeline.report.text import csv_cells, csv_frame, markdown_text, readable, require_finite


def write_tables(project: Project, results: Results, tables: Sequence[Table]) -> None:
    """Writes all tables in all their forms, and all values as one tidy frame; what older runs left is gone.

    What a machine measured has a folder of its own.
    """
    with write_aside(project.tables) as aside:
        _write(aside, [table for table in tables if not table.of_machine], results.data)
        csv_frame(results.values, "results.csv").write_csv(aside / "results.csv")
    with write_aside(project.times) as aside:
        _write(aside, [table for table in tables if table.of_machine], results.data)


def write_metrics(project: Project, results: Results) -> None:
    """Writes the main metric values for `dvc metrics`, a file a head; what older runs left is gone."""
    with write_aside(project.metrics) as aside:
        for (backbone, head), values in results.values.group_by("backbone", "head", maintain_order=True):
            path = aside / _metrics_file((backbone, head))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json_text(main_values(values.rename({"mean": "value"})), path), encoding="utf-8")


def _metrics_file(pair: Pair) -> str:
    """Such as lite1/noisy_or.json; the floor's is popularity.json."""
    backbone, head = pair
    return f"{head}.json" if pair == FLOOR else f"{backbone}/{head.replace(' ', '_')}.json"


def write_plot_data(folder: Path, results: Results) -> None:
    """Writes what `dvc plots` draws into a folder: the compared heads and the floor."""
    at_k = results.values.filter(
        pl.col("head").is_in([*results.heads, FLOOR[1]]), pl.col("by") == "all", pl.col("metric") == "f1"
    )
    epochs = results.history.group_by("backbone", "head", "epoch", maintain_order=True)
    at_k = at_k.select("backbone", "head", "k", "low", "high", f1="mean")
    csv_frame(at_k, "f1_at_k.csv").write_csv(folder / "f1_at_k.csv")
    csv_frame(epochs.agg(pl.col("micro_ap").mean()), "training.csv").write_csv(folder / "training.csv")


def _write(folder: Path, tables: Iterable[Table], data: dict) -> None:
    folder.mkdir()
    for table in tables:
        texts = {".md": markdown(table, data), ".csv": comma_separated(table), ".tex": latex(table, data)}
        for suffix, text in {**texts, **table.longer}.items():
            (folder / f"{table.name}{suffix}").write_text(text, encoding="utf-8")


def markdown(table: Table, data: dict) -> str:
    """A page with the title, where the data are from, the table and its notes."""
    grid = _grid(table, "github", markdown_text)
    return "\n".join([f"# {table.title}", "", origin(data, "**Simulated**"), "", grid, "", table.notes, ""])


def latex(table: Table, data: dict) -> str:
    """A tabular for the booktabs package; the title and the notes are comments above it."""
    comments = [table.title, origin(data, "Simulated"), *table.notes.splitlines()]
    return "\n".join([*(f"% {printable(line)}" for line in comments), _grid(table, "latex_booktabs", str), ""])


def comma_separated(table: Table) -> str:
    """The same cells; a metric value takes three columns: value, low and high, and a fourth where some have marks."""
    require_finite(table)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = [_parts([row[index] for row in table.rows]) for index in range(len(table.columns))]
    names = (f"{name} {part}".rstrip() for name, part in _headings(table.columns, parts))
    writer.writerow(csv_cells(table.name, names))
    for row in table.rows:
        cells = (part for cell, of_column in zip(row, parts, strict=True) for part in _spread(cell, len(of_column)))
        writer.writerow(csv_cells(table.name, cells))
    return out.getvalue()


def _headings(columns: list[str], parts: list[list[str]]) -> Iterator[tuple[str, str]]:
    yield from ((name, part) for name, of_column in zip(columns, parts, strict=True) for part in of_column)


def _text(cell: Cell, escaped: Callable[[str], str]) -> str:
    """A cell as people read it; what is text from elsewhere, escaped."""
    if isinstance(cell, str):
        return escaped(readable(cell))
    if isinstance(cell, Measured):
        return f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}] {cell.marks}".rstrip()
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _grid(table: Table, form: str, escaped: Callable[[str], str]) -> str:
    require_finite(table)
    cells = [[_text(cell, escaped) for cell in row] for row in table.rows]
    return tabulate(cells, [escaped(readable(name)) for name in table.columns], form, disable_numparse=True)


def _parts(cells: list[Cell]) -> list[str]:
    """What follows a column's name in each of the columns that it takes in CSV."""
    measured = [cell for cell in cells if isinstance(cell, Measured)]
    if not measured:
        return [""]
    return ["", "low", "high", *["differs"] * any(cell.marks for cell in measured)]


def _spread(cell: Cell, columns: int) -> list[Cell]:
    if isinstance(cell, Measured):
        cells: list[Cell] = [*(round(number, 6) for number in (cell.value, cell.low, cell.high)), cell.marks]
        return cells[:columns]
    return [cell, *[""] * (columns - 1)]
