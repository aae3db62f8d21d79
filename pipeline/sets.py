"""Purchases to image sets: which images stand for a user, which labels are theirs, and which split they fall in.

Two tasks. `interests`: a user's first purchases are the set, and its labels are the union of those items' categories
(the seed's protocol). `next`: the last purchases before the held-out ones are the set, and the labels are the
categories of the held-out ones.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from pipeline import catalogue, files
from pipeline.catalogue import NO_IMAGE, SPLITS
from pipeline.errors import StageError

if TYPE_CHECKING:
    from pipeline.params import SetSettings


def make_sets(
    catalogue_folder: Path, sets_path: Path, labels_path: Path, report_path: Path, source: str, settings: "SetSettings"
) -> None:
    """Writes sets.parquet, labels.json and reports/data.json from the catalogue; `source` is the raw format's name.

    Raises:
        StageError: when no label or no set is left, or a split is empty.
    """
    items, purchases, rejects = (
        catalogue.read_table(catalogue_folder / f"{name}.parquet") for name in ("items", "purchases", "rejects")
    )
    images = catalogue.Images(catalogue_folder / "images.h5")
    item_labels = label_items(items, settings)
    names = frequent_labels(item_labels, settings)
    sets, counts = build_sets(items, purchases, item_labels, names, settings)
    catalogue.write_table(sets_path, sets)
    catalogue.write_labels(labels_path, names, images.digest())
    description = describe(items, purchases, rejects, sets, names, counts, len(images))
    touched = touched_by_unreadable(purchases, rejects, item_labels, sets, names)
    files.write_json(
        report_path, {"source": source, "simulated": source == "demo", **description, "unreadable_images": touched}
    )


def of_one_image(catalogue_folder: Path, names: list[str], settings: "SetSettings") -> pl.DataFrame:
    """The same users' sets with their first image alone, labelled by it alone; `names` are the labels."""
    items, purchases = (catalogue.read_table(catalogue_folder / f"{name}.parquet") for name in ("items", "purchases"))
    settings = settings.model_copy(update={"max_images": 1})
    return build_sets(items, purchases, label_items(items, settings), names, settings)[0]


def label_items(items: pl.DataFrame, settings: "SetSettings") -> pl.DataFrame:
    """The labels of each item: every category on every path, less the stop categories.

    Returns:
        item_id, label: one row an item and label, distinct.
    """
    stop = {name.lower() if settings.lower_case else name for name in settings.stop_categories}
    label = pl.col("categories").str.strip_chars()
    label = label.str.to_lowercase() if settings.lower_case else label
    flat = items.select("item_id", "categories").explode("categories").explode("categories")
    return (
        flat.drop_nulls()
        .select("item_id", label.alias("label"))
        .filter(~pl.col("label").is_in(sorted(stop)), pl.col("label") != "")
        .unique()
        .sort("item_id", "label")
    )


def frequent_labels(item_labels: pl.DataFrame, settings: "SetSettings") -> list[str]:
    """Labels that enough items have, in the order of the alphabet.

    Raises:
        StageError: when there is none.
    """
    counts = item_labels.group_by("label").len().sort("len", "label", descending=[True, False])
    kept = counts.filter(pl.col("len") >= settings.least_items)["label"].sort().to_list()
    if not kept:
        most = f"the most frequent, {counts['label'][0]!r}, has {counts['len'][0]}" if len(counts) else "there is none"
        raise StageError(
            f"no label is left: sets.least_items asks for {settings.least_items} items a label, "
            f"{most}; lower it in params.yaml, or name fewer stop categories"
        )
    return kept


def build_sets(
    items: pl.DataFrame, purchases: pl.DataFrame, item_labels: pl.DataFrame, names: list[str], settings: "SetSettings"
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Sets with at least one image and one label, by user, and how many users fell out for which reason.

    Raises:
        StageError: when no set is left, or a split is empty.
    """
    bought = purchases.group_by("user_id").len()
    limit = settings.drop_above_mean * bought["len"].mean() if len(bought) else 0
    users = bought.filter(pl.col("len") <= limit).select("user_id")
    users = users.with_columns(assign_splits(users["user_id"], settings)).sort("user_id")
    rows = purchases.with_row_index("order").join(users.rename({"split": "part"}), on="user_id")
    rows = _old_or_new(rows.sort("user_id", "time", "order"), settings)
    shown, labelled = (
        _interests(rows, items, settings) if settings.task == "interests" else _next(rows, items, settings)
    )
    index = pl.DataFrame({"label": names, "index": range(len(names))}, schema={"label": pl.String, "index": pl.UInt16})
    labels = (
        labelled.join(item_labels.join(index, on="label"), on="item_id")
        .group_by("user_id")
        .agg(pl.col("index").unique().sort().alias("labels"))
    )
    images = shown.group_by("user_id", maintain_order=True).agg(
        pl.col("image").unique(maintain_order=True).alias("images")
    )
    sets = images.join(labels, on="user_id").join(users, on="user_id").sort("user_id").rename({"user_id": "set_id"})
    _require_splits(sets)
    counts = {
        "users": len(bought),
        "users_above_limit": len(bought) - len(users),
        "users_without_image": len(users) - len(images),
        "users_without_label": len(images) - len(sets),
    }
    return sets, counts


def assign_splits(user_ids: pl.Series, settings: "SetSettings") -> pl.Series:
    """A split for each user, by a hash of the id and the seed: adding users moves nobody."""
    parts = settings.split

    def place(user_id: str) -> str:
        share = _share(f"{parts.seed}:{user_id}")
        return "test" if share < parts.test else "validation" if share < parts.test + parts.validation else "train"

    return pl.Series("split", [place(user_id) for user_id in user_ids], dtype=SPLITS)


def _old_or_new(rows: pl.DataFrame, settings: "SetSettings") -> pl.DataFrame:
    """Where some items are new: training users' rows without them, the other users' rows with no other."""
    if not settings.new_items:
        return rows
    items = rows.select(pl.col("item_id").unique().sort())
    new = [_share(f"{settings.split.seed}:item:{item_id}") < settings.new_items for item_id in items["item_id"]]
    rows = rows.join(items.with_columns(pl.Series("new", new)), on="item_id", maintain_order="left")
    return rows.filter(pl.col("new") == (pl.col("part") != "train")).drop("new")


def _share(text: str) -> float:
    """A number in [0, 1) that a text always has."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _interests(rows: pl.DataFrame, items: pl.DataFrame, settings: "SetSettings") -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first items with an image of each user: what is shown, and what is labelled, are the same."""
    shown = _with_images(rows, items, keep="first").group_by("user_id", maintain_order=True).head(settings.max_images)
    return shown, shown.select("user_id", "item_id")


def _next(rows: pl.DataFrame, items: pl.DataFrame, settings: "SetSettings") -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is shown: the last items with an image before the held-out ones. What is labelled: the held-out ones.

    Held out is what the source leaves out for validation and test, or, where it does not split, the last few.
    """
    left = pl.int_range(pl.len(), 0, -1).over("user_id")
    divided = pl.col("split").is_not_null().any().over("user_id")
    held = pl.when(divided).then(pl.col("split") != "train").otherwise(left <= settings.held_out).fill_null(False)
    rows = rows.with_columns(held.alias("held"))
    earlier = _with_images(rows.filter(~pl.col("held")), items, keep="last")
    shown = earlier.group_by("user_id", maintain_order=True).tail(settings.max_images)
    return shown, rows.filter("held").select("user_id", "item_id")


def _with_images(rows: pl.DataFrame, items: pl.DataFrame, keep: Literal["first", "last"]) -> pl.DataFrame:
    """Rows whose item has an image; an item bought twice counts once, when it was bought first or last."""
    pictured = items.filter(pl.col("image").is_not_null()).select("item_id", "image")
    return rows.join(pictured, on="item_id", maintain_order="left").unique(
        ["user_id", "item_id"], keep=keep, maintain_order=True
    )


def _require_splits(sets: pl.DataFrame) -> None:
    if not len(sets):
        raise StageError("no set is left: no user has both a usable image and a label; see rejects.parquet")
    for split in SPLITS.categories:
        if not (sets["split"] == split).any():
            raise StageError(f"no set falls in the {split} split ({len(sets)} sets in all): change sets.split")


def describe(
    items: pl.DataFrame,
    purchases: pl.DataFrame,
    rejects: pl.DataFrame,
    sets: pl.DataFrame,
    names: list[str],
    counts: dict[str, int],
    images: int,
) -> dict:
    """What the data are, and what could not be used: the content of reports/data.json."""
    reasons = rejects.group_by("stage", "reason").len().sort("stage", "reason")
    parts = {split: sets.filter(pl.col("split") == split) for split in SPLITS.categories}
    trained = parts["train"]["images"].explode().unique()
    by_split = {
        split: {
            "sets": len(part),
            "images_a_set": round(float(part["images"].list.len().mean()), 3),
            "labels_a_set": round(float(part["labels"].list.len().mean()), 3),
            "share_of_images_in_training": round(float(part["images"].explode().is_in(trained.implode()).mean()), 3),
        }
        for split, part in parts.items()
    }
    frequency = sets["labels"].explode().value_counts()
    sets_a_label = {names[label]: count for label, count in sorted(frequency.iter_rows())}
    return {
        "items": len(items),
        "items_with_image": len(items) - items["image"].null_count(),
        "distinct_images": images,
        "purchases": len(purchases),
        **counts,
        "sets": by_split,
        "labels": len(names),
        "sets_a_label": sets_a_label,
        "rejects": {f"{stage}: {reason}": count for stage, reason, count in reasons.iter_rows()},
    }


def touched_by_unreadable(
    purchases: pl.DataFrame, rejects: pl.DataFrame, item_labels: pl.DataFrame, sets: pl.DataFrame, names: list[str]
) -> dict[str, int]:
    """How far unreadable images reach: items that have one, sets whose user bought such an item, labels they have."""
    lost = rejects.filter((pl.col("stage") == "image") & (pl.col("reason") != NO_IMAGE)).select("item_id").unique()
    users = purchases.join(lost, on="item_id", how="semi").select(set_id="user_id").unique()
    labels = item_labels.join(lost, on="item_id", how="semi").filter(pl.col("label").is_in(names))
    return {
        "items": len(lost),
        "sets": len(sets.join(users, on="set_id", how="semi")),
        "labels": labels["label"].n_unique(),
    }
