"""A table that stages hand over, read whole or a part at a time; what is read is made sure of."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import polars as pl

ROWS_A_BLOCK = 250_000


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


@dataclass(frozen=True)
class Table:
    """Rows, in memory or in a file. No null but in some columns, no number that is not finite.

    Attributes:
        rows: all of them.
        refuse: called with the reason where they are not so; raises.
        nullable: columns that may hold nulls.

    >>> table = Table(pl.LazyFrame({"item": ["a", "a", "b"], "time": [3, 1, 2]}))
    >>> [block["time"].to_list() for block in table.blocks("time", whole="item", size=1)]
    [[3, 1], [2]]
    """

    rows: pl.LazyFrame
    refuse: Callable[[str], NoReturn] = _refuse
    nullable: Iterable[str] = ()

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return self.rows.select(pl.len()).collect().item()

    def read(self, *columns: str, where: pl.Expr | None = None) -> pl.DataFrame:
        """Some columns, or all of them, of the rows for which something is true, or of all."""
        rows = self.rows if where is None else self.rows.filter(where)
        return self._collect(rows.select(columns) if columns else rows)

    def blocks(self, *columns: str, whole: str | None = None, size: int = ROWS_A_BLOCK) -> Iterator[pl.DataFrame]:
        """Some columns of all rows, so many at a time.

        Args:
            columns: which.
            whole: a column whose equal values stay together, as they do in the table: blocks are as much longer.
            size: rows a block.
        """
        rows, rest = self.rows.select(*columns, *({whole} - {None, *columns})), None
        for start in range(0, len(self), size):
            block = self._collect(rows.slice(start, size))
            block = block if rest is None else pl.concat([rest, block])
            if whole is None:
                yield block
                continue
            is_last = (block[whole] == block[whole][-1]).fill_null(False)
            rest = block.filter(is_last)
            if len(rest) < len(block):
                yield block.filter(~is_last).select(columns)
        if rest is not None:
            yield rest.select(columns)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """What a damaged file makes polars raise, in the table's own words."""
        try:
            yield
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            self.refuse((str(error) or type(error).__name__).splitlines()[0])

    def _collect(self, rows: pl.LazyFrame) -> pl.DataFrame:
        with self.refusing():
            frame = rows.collect()
        require_numbers(frame, self.refuse, nullable=self.nullable)
        return frame


def require_numbers(frame: pl.DataFrame, refuse: Callable[[str], NoReturn], *, nullable: Iterable[str] = ()) -> None:
    """Refuses a null outside of some columns, and a number that is not finite, lists included."""
    for name, column in frame.to_dict().items():
        nulls = column.null_count() if name not in set(nullable) else 0
        while column.dtype.is_nested():
            column = column.explode(empty_as_null=False)
            nulls += column.null_count()
        if nulls:
            refuse(f"a null in column {name}")
        if column.dtype.is_float() and not column.is_finite().all():
            refuse(f"a number in column {name} is not finite")
