"""Which labels there are, and what has them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from pipeline.core.errors import StageError
from pipeline.core.table import Table

if TYPE_CHECKING:
    from pipeline.settings.sections import SetSettings

MOST_LABELS = 1 << 16  # a set's labels are 16 bits each
AMAZON = (  # names in Amazon's categories that say nothing of an item: roots, for whom, and where it is sent
    "Clothing, Shoes & Jewelry",
    "Clothing",
    "Men",
    "Women",
    "Boys",
    "Girls",
    "Novelty, Costumes & More",
    "Shoes & Accessories: International Shipping Available",
    "Jewelry: International Shipping Available",
)
OF_ITEMS = pl.Schema({"item_id": pl.String(), "labels": pl.List(pl.UInt16())})
STOP_OF = {"amazon_reviews": AMAZON, "dvbpr": AMAZON, "demo": AMAZON}  # of a source by its name; the demo is drawn so


@dataclass(frozen=True)
class Labels:
    """Which labels there are, and which items have them.

    Attributes:
        names: of the labels, in index order.
        of_items: item_id, labels (ascending indices, uint16): a row for each item that has one.
    """

    names: list[str]
    of_items: pl.DataFrame


def stop_categories(settings: "SetSettings", source: str) -> Sequence[str]:
    """What is never a label: the categories that the settings list, or those that belong to the source.

    >>> from pathlib import Path
    >>> from pipeline.settings.settings import load
    >>> settings = load(Path(__file__).parents[1] / "params.yaml").sets
    >>> stop_categories(settings, "table"), stop_categories(settings, "dvbpr")[1:4]
    ((), ('Clothing', 'Men', 'Women'))
    """
    return STOP_OF.get(source, ()) if settings.stop_categories == "auto" else settings.stop_categories


def categories_of(items: pl.DataFrame, settings: "SetSettings") -> pl.DataFrame:
    """Every category on every path of each item, as labels are spelt: item_id, label, by both."""
    label = pl.col("categories").str.strip_chars()
    label = label.str.to_lowercase() if settings.lower_case else label
    flat = items.select("item_id", "categories").explode("categories").explode("categories")
    labelled = flat.drop_nulls().select("item_id", label.alias("label")).filter(pl.col("label") != "")
    return labelled.unique().sort("item_id", "label")


def count_categories(items: Table, settings: "SetSettings") -> Counter[str]:
    """How many items have each category, as labels are spelt; items as the catalogue has them, their ids distinct."""
    counts: Counter[str] = Counter()
    for block in items.blocks("item_id", "categories"):
        counts.update(dict(categories_of(block, settings).group_by("label").len().iter_rows()))
    return counts


def taken_away(counts: Counter[str], settings: "SetSettings", source: str) -> dict[str, int]:
    """How many items have each stop category, as the settings spell it: labels that there would be without it."""
    return {name: counts[_cased(name, settings)] for name in stop_categories(settings, source)}


def _cased(name: str, settings: "SetSettings") -> str:
    return name.lower() if settings.lower_case else name


def frequent_labels(counts: Counter[str], settings: "SetSettings", *, source: str = "") -> list[str]:
    """The labels: every category that enough items have, less the stop categories, in the order of the alphabet.

    Args:
        counts: as `count_categories` gives them.
        settings: how categories become labels.
        source: its name, where the settings leave the stop categories to it.

    Raises:
        StageError: when there is none, or there are too many to be told apart.
    """
    stop = {_cased(name, settings) for name in stop_categories(settings, source)}
    left = {name: count for name, count in counts.items() if name not in stop}
    names = sorted(name for name, count in left.items() if count >= settings.least_items)
    if not names:
        first = min(left, key=lambda name: (-left[name], name), default=None)
        most = "there is none" if first is None else f"the most frequent, {first!r}, has {left[first]}"
        raise StageError(
            f"no label is left: sets.least_items asks for {settings.least_items} items a label, "
            f"{most}; lower it in params.yaml, or name fewer stop categories"
        )
    if len(names) > MOST_LABELS:
        raise StageError(f"{len(names):,} labels are too many, {MOST_LABELS:,} are the most: raise sets.least_items")
    return names


def label_items(items: Table, names: list[str], settings: "SetSettings") -> Labels:
    """Which items have which labels; items as the catalogue has them."""
    index = pl.DataFrame(
        {"label": names, "labels": range(len(names))}, schema={"label": pl.String, "labels": pl.UInt16}
    )
    parts = [
        categories_of(block, settings).join(index, on="label").group_by("item_id").agg(pl.col("labels").sort())
        for block in items.blocks("item_id", "categories")
    ]
    return Labels(names, pl.concat(parts) if parts else pl.DataFrame(schema=OF_ITEMS))


def label_images(pictured: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """What each image shows: the labels of all items that have it, as ascending indices: image, labels.

    Args:
        pictured: item_id, image.
        labels: those of the items.
    """
    return union_of_labels(pictured, labels, key="image").sort("image")


def union_of_labels(items: pl.DataFrame, labels: Labels, *, key: str = "user_id") -> pl.DataFrame:
    """The labels of the items of each value of a column, as ascending indices: that column, labels."""
    rows = items.select(key, "item_id").join(labels.of_items, on="item_id").select(key, "labels").explode("labels")
    return rows.group_by(key).agg(pl.col("labels").unique().sort())
