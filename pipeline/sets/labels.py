"""Which labels there are, and what has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from pipeline.core.errors import StageError

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
STOP_OF = {"amazon_reviews": AMAZON, "dvbpr": AMAZON, "demo": AMAZON}  # of a source by its name; the demo is drawn so


@dataclass(frozen=True)
class Labels:
    """Which labels there are, and which items have them.

    Attributes:
        names: of the labels, in index order.
        of_items: item_id, label: one row for each label of each item, rare labels included.
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


def label_items(items: pl.DataFrame, settings: "SetSettings", *, source: str = "") -> pl.DataFrame:
    """The labels of each item: every category on every path, less the stop categories.

    Args:
        items: as the catalogue has them.
        settings: how categories become labels.
        source: its name, where the settings leave the stop categories to it.

    Returns:
        item_id, label: one row for each label of each item.
    """
    stop = [_cased(name, settings) for name in stop_categories(settings, source)]
    return categories_of(items, settings).filter(~pl.col("label").is_in(sorted(stop)))


def categories_of(items: pl.DataFrame, settings: "SetSettings") -> pl.DataFrame:
    """Every category of each item, also those that are no labels; columns and order as of `label_items`."""
    label = pl.col("categories").str.strip_chars()
    label = label.str.to_lowercase() if settings.lower_case else label
    flat = items.select("item_id", "categories").explode("categories").explode("categories")
    labelled = flat.drop_nulls().select("item_id", label.alias("label")).filter(pl.col("label") != "")
    return labelled.unique().sort("item_id", "label")


def taken_away(items: pl.DataFrame, settings: "SetSettings", source: str) -> dict[str, int]:
    """How many items have each stop category, as the settings spell it: labels that there would be without it."""
    counts = dict(categories_of(items, settings).group_by("label").len().iter_rows())
    return {name: counts.get(_cased(name, settings), 0) for name in stop_categories(settings, source)}


def _cased(name: str, settings: "SetSettings") -> str:
    return name.lower() if settings.lower_case else name


def frequent_labels(of_items: pl.DataFrame, settings: "SetSettings") -> list[str]:
    """Labels that enough items have, in the order of the alphabet; `of_items` as `label_items` gives it.

    Raises:
        StageError: when there is none, or there are too many to be told apart.
    """
    counts = of_items.group_by("label").len().sort("len", "label", descending=[True, False])
    names = counts.filter(pl.col("len") >= settings.least_items)["label"].sort().to_list()
    if not names:
        most = f"the most frequent, {counts['label'][0]!r}, has {counts['len'][0]}" if len(counts) else "there is none"
        raise StageError(
            f"no label is left: sets.least_items asks for {settings.least_items} items a label, "
            f"{most}; lower it in params.yaml, or name fewer stop categories"
        )
    if len(names) > MOST_LABELS:
        raise StageError(f"{len(names):,} labels are too many, {MOST_LABELS:,} are the most: raise sets.least_items")
    return names


def label_images(items: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """What each image shows: the labels of all items that have it, as ascending indices: image, labels."""
    pictured = items.filter(pl.col("image").is_not_null()).select("item_id", "image")
    return label_indices(pictured, labels, key="image").sort("image")


def label_indices(labelled: pl.DataFrame, labels: Labels, *, key: str = "user_id") -> pl.DataFrame:
    """The labels of the items of each value of a column, as ascending indices: that column, labels."""
    index = pl.DataFrame(
        {"label": labels.names, "index": range(len(labels.names))}, schema={"label": pl.String, "index": pl.UInt16}
    )
    rows = labelled.join(labels.of_items.join(index, on="label"), on="item_id")
    return rows.group_by(key).agg(labels=pl.col("index").unique().sort())
