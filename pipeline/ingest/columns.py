"""Rows that become columns as they come: some thousand are Python's own at a time, and a large table waits on the disk.

What comes in its order is written again as it is read; only a large table that does not is sorted in memory.
"""

from pathlib import Path

import polars as pl

BLOCK, BLOCKS_A_PART = 50_000, 20  # rows that are Python's own; and blocks in memory before they go to the disk


class Columns:
    """A table that grows by rows.

    Args:
        schema: its columns, in the order of a row's values.
        by: what it will be sorted by, so many of the first columns' names; equal rows stay in the order they came.
        folder: where parts of it wait.

    >>> table = Columns(pl.Schema({"id": pl.String(), "size": pl.Int64()}), ("id",), Path("."))
    >>> table.add(("b", 1))
    >>> table.add(("a", 2))
    >>> table.sorted().collect()["id"].to_list(), len(table)
    (['a', 'b'], 2)
    """

    def __init__(self, schema: pl.Schema, by: tuple[str, ...], folder: Path):
        self._schema, self._by, self._folder = schema, list(by), folder
        self._places = [schema.names().index(name) for name in by]
        self._rows: list[tuple] = []
        self._blocks: list[pl.DataFrame] = []
        self._parts: list[Path] = []
        self._last: list = []
        self._is_sorted = True
        self._count = 0

    def add(self, row: tuple) -> None:
        """Adds a row."""
        key = [row[place] for place in self._places]
        self._is_sorted = self._is_sorted and self._last <= key
        self._last = key
        self._count += 1
        self._rows.append(row)
        if len(self._rows) == BLOCK:
            self._flush()
            if len(self._blocks) == BLOCKS_A_PART:
                self._spill()

    def __len__(self) -> int:
        """How many rows there are."""
        return self._count

    def _flush(self) -> None:
        self._blocks.append(pl.DataFrame(self._rows, self._schema, orient="row"))
        self._rows = []

    def _spill(self) -> None:
        part = self._folder / f"{'_'.join(self._schema)[:60]}.{len(self._parts):06d}.part"
        pl.concat(self._blocks).write_parquet(part, compression="lz4")
        self._parts.append(part)
        self._blocks = []

    def sorted(self) -> pl.LazyFrame:
        """The table, sorted; where it came so and is large, it is read from the disk as it is used."""
        self._flush()
        if not self._parts:
            self._blocks = [pl.concat(self._blocks)]
            return self._blocks[0].sort(self._by, maintain_order=True).lazy()
        self._spill()
        frame = pl.scan_parquet(self._parts)
        return frame if self._is_sorted else frame.collect().sort(self._by, maintain_order=True).lazy()
