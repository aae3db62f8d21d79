"""The table of the data."""

from collections.abc import Iterator

from pipeline.report.results import Results
from pipeline.report.table import Cell, Table

NOT_SHOWN = ("source", "simulated", "drawn", "sets_digest")  # the first three stand in every table


def data(results: Results) -> Table:
    """What the data are, and what could not be used."""
    rows: list[list[Cell]] = [
        [" ".join(names), count]
        for key, value in results.data.items()
        if key not in NOT_SHOWN
        for names, count in _counts([key.replace("_", " ")], value)
    ]
    return Table("data", "The data", ["what", "count"], rows, "Every reject stands in data/catalogue/rejects.parquet.")


def _counts(names: list[str], value: Cell | dict) -> Iterator[tuple[list[str], Cell]]:
    """The numbers in a value, by the names that lead to them; a label's name, which is the second, stays as it is."""
    if not isinstance(value, dict):
        yield names, value
        return
    for name, part in value.items():
        yield from _counts([*names, name if len(names) == 1 else name.replace("_", " ")], part)
