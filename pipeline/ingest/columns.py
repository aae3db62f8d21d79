"""Rows that become columns as they come: some thousand are Python's own at a time, however many there are."""

import polars as pl

BLOCK = 50_000


class Columns:
    """A table that grows by rows.

    Args:
        schema: its columns, in the order of a row's values.

    >>> table = Columns(pl.Schema({"id": pl.String()}))
    >>> table.add(("a",))
    >>> table.frame()["id"].to_list()
    ['a']
    """

    def __init__(self, schema: pl.Schema):
        self._schema = schema
        self._rows: list[tuple] = []
        self._blocks: list[pl.DataFrame] = []

    def add(self, row: tuple) -> None:
        """Adds a row."""
        self._rows.append(row)
        if len(self._rows) == BLOCK:
            self._flush()

    def _flush(self) -> None:
        self._blocks.append(pl.DataFrame(self._rows, self._schema, orient="row"))
        self._rows = []

    def frame(self) -> pl.DataFrame:
        """The table so far."""
        self._flush()
        self._blocks = [pl.concat(self._blocks)]
        return self._blocks[0]
