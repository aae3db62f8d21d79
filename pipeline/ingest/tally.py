"""Counts of what cannot be used, or was left out, by its reason: exact, though only so many rows of each are kept."""

from collections import Counter
from typing import Literal

import polars as pl

from pipeline.core.errors import SourceError
from pipeline.core.text import printable, shortened
from pipeline.ingest.raw import Reject

Key = tuple[Literal["item", "image", "purchase"], str]  # stage, reason
MOST_KEPT = 10_000  # rows of a reason; images are all kept, since labels' losses are counted by them
LONGEST_VALUE = 100  # characters of a value in rejects.csv
REASONS_SHOWN = 20
CSV = pl.Schema(
    {
        "stage": pl.String(),
        "file": pl.String(),
        "line": pl.Int64(),
        "id": pl.String(),
        "field": pl.String(),
        "value": pl.String(),
        "reason": pl.String(),
    }
)


class Tally:
    """What was refused.

    Args:
        most_kept: rows of a reason; beyond them it is only counted.

    Attributes:
        rows: those kept, in the order they came in.
        counts: of all, by stage and reason.

    >>> tally = Tally(most_kept=1)
    >>> for item in "abc":
    ...     tally.add(Reject("item", item, "no title"))
    >>> len(tally.rows), tally.counts[("item", "no title")]
    (1, 3)
    """

    def __init__(self, most_kept: int = MOST_KEPT):
        self._most_kept = most_kept
        self._faults: Counter[str] = Counter()
        self._kept: Counter[Key] = Counter()
        self._is_fault: dict[Key, bool] = {}
        self.rows: list[Reject] = []
        self.counts: Counter[Key] = Counter()

    def add(self, reject: Reject) -> None:
        """Counts a refusal, and keeps it where there is room and it is of a row."""
        key: Key = (reject.stage, reject.reason)
        self._is_fault[key] = reject.is_fault
        self.counts[key] += reject.count
        self._faults[reject.stage] += reject.count if reject.is_fault else 0
        if reject.is_row and ((reject.stage == "image" and reject.is_fault) or self._kept[key] < self._most_kept):
            self._kept[key] += 1
            self.rows.append(reject)

    def rest(self) -> list[Reject]:
        """The rows that are kept, and behind them one entry a reason for all that are not."""
        others = []
        for key, count in sorted(self.counts.items()):
            if left := count - self._kept[key]:
                others.append(Reject(key[0], "", key[1], count=left, is_row=False, is_fault=self._is_fault[key]))
        return [*self.rows, *others]

    def require_few(self, origin: str, seen: dict[str, int], *, most: float) -> None:
        """Stops where more than a share of the items, images or purchases are refused as faulty.

        Args:
            origin: the source, in the message.
            seen: how many there are, by stage.
            most: the share, 0 to 1.

        Raises:
            SourceError: with the share and the most frequent reasons, in a line.
        """
        for stage, count in seen.items():
            faults = self._faults[stage]
            if faults > most * count:
                reasons = [(n, reason) for (of, reason), n in self.counts.items() if of == stage]
                worst = "; ".join(
                    f"{n} {reason}{self._first(stage, reason)}" for n, reason in sorted(reasons, reverse=True)[:3]
                )
                share = f"{faults} of {count} {stage}s cannot be used, more than source.most_rejects ({most:g}) allows"
                raise SourceError(f"{origin}: {share}: {shortened(printable(worst), 300)}")

    def _first(self, stage: str, reason: str) -> str:
        """Where the source has the first row that was refused for a reason."""
        rows = (row for row in self.rows if (row.stage, row.reason) == (stage, reason) and row.file)
        row = next(rows, None)
        return f" (first: {row.file}{f' line {row.line}' if row.line else ''})" if row else ""

    def summary(self) -> list[str]:
        """A line a reason, the most frequent first.

        >>> tally = Tally()
        >>> tally.add(Reject("item", "", "left out: of no chosen category", count=1200, is_row=False))
        >>> tally.summary()
        ['       1,200 item: left out: of no chosen category']
        """
        ordered = sorted(self.counts.items(), key=lambda entry: (-entry[1], entry[0]))
        lines = [f"{count:>12,} {stage}: {printable(reason)}" for (stage, reason), count in ordered[:REASONS_SHOWN]]
        return lines + (
            [f"             and {len(ordered) - len(lines)} more reasons"] if len(ordered) > len(lines) else []
        )

    def frame(self) -> pl.DataFrame:
        """The kept rows as rejects.csv has them: stage, file, line, id, field, value, reason; sorted."""
        rows = [
            (row.stage, row.file, row.line or None, row.item_id, row.field, _cell(row.value), row.reason)
            for row in self.rows
        ]
        cells = pl.DataFrame(rows, CSV, orient="row")
        safe = [pl.col(name).map_elements(_cell, pl.String) for name in ("file", "id", "field", "reason")]
        return cells.with_columns(safe).sort("stage", "reason", "file", "line", "id", maintain_order=True)

    def count_frame(self) -> pl.DataFrame:
        """Counts as the catalogue's counts.parquet has them: stage, reason, count; sorted."""
        rows = [(*key, count) for key, count in sorted(self.counts.items())]
        return pl.DataFrame(rows, {"stage": pl.String, "reason": pl.String, "count": pl.UInt64}, orient="row")


def _cell(text: str) -> str:
    """A text for a cell: short, in a line, and none that a spreadsheet takes for a formula."""
    text = shortened(printable(text), LONGEST_VALUE)
    return f"'{text}" if text[:1] in tuple("=+-@\t") else text
