"""Tables to files: Markdown for people, CSV for programs, LaTeX for papers."""

import csv
import io

import polars as pl
from tabulate import tabulate

from pipeline import files, layout
from pipeline.report.results import Results
from pipeline.report.tables import Figure, Table


def write(table: Table, data: dict) -> None:
    """Writes a table in all its forms; `data` is what reports/data.json holds.

    Of swaps it writes LaTeX alone: swap.md and swap.csv, by `swap_tables`, hold more than one table can.
    """
    texts = {".md": markdown(table, data), ".csv": comma_separated(table), ".tex": latex(table, data)}
    for suffix, text in texts.items():
        if table.name == "swap" and suffix != ".tex":
            continue
        with files.write_aside(layout.TABLES / f"{table.name}{suffix}") as aside:
            aside.write_text(text, encoding="utf-8")


def write_results(results: Results) -> None:
    """Writes the tidy frame that the tables are made of, and what `dvc plots` draws."""
    at_k = results.figures.filter(pl.col("by") == "all", pl.col("metric") == "f1")
    epochs = results.history.group_by("backbone", "head", "epoch", maintain_order=True)
    for path, frame in (
        (layout.TABLES / "results.csv", results.figures),
        (layout.PLOTS / "f1_at_k.csv", at_k.select("backbone", "head", "k", "low", "high", f1="mean")),
        (layout.PLOTS / "training.csv", epochs.agg(pl.col("micro_ap").mean())),
    ):
        with files.write_aside(path) as aside:
            frame.with_columns(pl.col(pl.Float64).round(6)).write_csv(aside)


def markdown(table: Table, data: dict) -> str:
    """A page with the title, where the data are from, the table and its notes."""
    lines = [f"# {table.title}", "", origin(data, "**Simulated**"), "", _grid(table, "github", "|", "\\|")]
    return "\n".join([*lines, "", table.notes, ""])


def latex(table: Table, data: dict) -> str:
    """A tabular for the booktabs package; the title and the notes are comments above it."""
    comments = [table.title, origin(data, "Simulated"), *table.notes.splitlines()]
    return "\n".join([*(f"% {line}" for line in comments), _grid(table, "latex_booktabs"), ""])


def comma_separated(table: Table) -> str:
    """The same cells; a figure takes three columns: value, low and high, and a fourth where some have marks."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = [_parts([row[place] for row in table.rows]) for place in range(len(table.columns))]
    writer.writerow([name if not part else f"{name} {part}" for name, own in zip(table.columns, parts) for part in own])
    for row in table.rows:
        writer.writerow([cell for value, own in zip(row, parts) for cell in _spread(value, len(own))])
    return out.getvalue()


def origin(data: dict, simulated: str) -> str:
    """Where the data are from; `simulated` is the word, as loud as the format allows."""
    source = f"Source: {data['source']}."
    if not data["simulated"]:
        return source
    return f"{source} {simulated}: images drawn by a program, users who do not exist. No figure here is about people."


def text(cell: object) -> str:
    """A cell as people read it."""
    if isinstance(cell, Figure):
        return f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}] {cell.marks}".rstrip()
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _grid(table: Table, style: str, *escape: str) -> str:
    cells = [[text(cell).replace(*escape) if escape else text(cell) for cell in row] for row in table.rows]
    return tabulate(cells, table.columns, style, disable_numparse=True)


def _parts(cells: list) -> list[str]:
    """What follows a column's name in each of the columns that it takes in CSV."""
    figures = [cell for cell in cells if isinstance(cell, Figure)]
    if not figures:
        return [""]
    return ["", "low", "high", *["differs"] * any(cell.marks for cell in figures)]


def _spread(cell: object, columns: int) -> list:
    if isinstance(cell, Figure):
        return [*(round(number, 6) for number in cell[:3]), cell.marks][:columns]
    return [cell, *[""] * (columns - 1)]
