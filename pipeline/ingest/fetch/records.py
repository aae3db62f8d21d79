"""What a fetch comes to: counts by status and reason, for people and for the graph; and its ledger as a table."""

import csv
from pathlib import Path
from typing import TextIO

import polars as pl

from pipeline.core import handover
from pipeline.core.text import printable
from pipeline.ingest.fetch.ledger import Ledger

NAME = "record.json"
COLUMNS = ("item_id", "address", "status", "reason", "tries", "bytes", "digest")


def counts(ledger: Ledger) -> pl.DataFrame:
    """Items by status and reason: status, reason, count; the most frequent first."""
    found = ledger.latest("status", "reason").group_by("status", "reason").agg(pl.len().alias("count"))
    return found.sort("count", "status", "reason", descending=[True, False, False])


def write(folder: Path, source: str, found: pl.DataFrame | None) -> None:
    """Writes what came of it; without counts, that the source has its photos itself."""
    content: dict = {"source": source}
    if found is None:
        content["photos"] = "come with the source: nothing is fetched"
    else:
        content["items"] = found.rows(named=True)
    handover.write_record(folder / NAME, content)


def lines(found: pl.DataFrame) -> list[str]:
    """A line for each status and reason.

    >>> lines(pl.DataFrame({"status": ["gone"], "reason": ["HTTP 404"], "count": [1200]}))
    ['       1,200 gone: HTTP 404']
    """
    rows = found.select("count", "status", "reason").iter_rows()
    return [f"{count:>12,} {status}{f': {printable(reason)}' if reason else ''}" for count, status, reason in rows]


def write_list(ledger: Ledger, out: TextIO) -> None:
    """Writes the last row of each item as CSV; no cell can be taken for a formula."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in ledger.latest(*COLUMNS[1:]).iter_rows():
        writer.writerow([f"'{cell}" if str(cell)[:1] in tuple("=+-@\t\r") and cell else cell for cell in row])
