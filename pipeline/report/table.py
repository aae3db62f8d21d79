"""What a table is before it is text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MISSING = "missing"


class Measured(NamedTuple):
    """A metric value.

    Attributes:
        value: the value.
        low: lower end of its interval.
        high: upper end.
        marks: which references it differs from, such as "p+ a-"; "" where none or not tested.
    """

    value: float
    low: float
    high: float
    marks: str = ""


Cell = str | int | float | Measured


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: stem of its files.
        title: one line.
        columns: their names.
        rows: cells, a row as many as there are columns.
        notes: what stands under it.
        of_machine: whether it holds what a machine measured, which is another value in each run.
        first: columns that the page shows before it is asked for all; none: it shows all.
        longer: by suffix, such as ".md", text that holds more than the cells and takes the place of theirs.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: str
    of_machine: bool = False
    first: tuple[str, ...] = ()
    longer: Mapping[str, str] = field(default_factory=dict)
