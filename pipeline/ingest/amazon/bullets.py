"""Where the features of an item begin in its categories of 2018: at the first name that few items have."""

from collections.abc import Iterable
from itertools import islice

import polars as pl

from pipeline.ingest.amazon.item_store import StoredItem

BLOCK = 50_000  # items whose names are counted at a time


def frequent_names(items: Iterable[StoredItem], least: int) -> frozenset[str]:
    """The names that at least so many items have among their categories.

    >>> items = [StoredItem("a", "", [["Hats", "warm"]]), StoredItem("b", "", [["Hats"], ["Hats", "red"]])]
    >>> sorted(frequent_names(items, 2))
    ['Hats']
    """
    entries, total = iter(items), pl.DataFrame(schema={"name": pl.String, "len": pl.UInt32})
    while block := list(islice(entries, BLOCK)):
        names = [sorted({name for path in item.categories for name in path}) for item in block]
        counts = pl.DataFrame({"name": pl.Series(names, dtype=pl.List(pl.String))}).explode("name").drop_nulls()
        counts = counts.group_by("name").len().cast({"len": pl.UInt32})
        total = pl.concat([total, counts]).group_by("name").agg(pl.col("len").sum())
    return frozenset(total.filter(pl.col("len") >= least)["name"])


def before_rare(paths: list[list[str]], frequent: frozenset[str]) -> list[list[str]]:
    """The paths, each cut before its first name that is not frequent.

    >>> before_rare([["Women", "Hats", "warm and red", "Women"]], frozenset({"Women", "Hats"}))
    [['Women', 'Hats']]
    """
    cut = []
    for path in paths:
        end = next((place for place, name in enumerate(path) if name not in frequent), len(path))
        cut.append(path[:end])
    return [path for path in cut if path]
