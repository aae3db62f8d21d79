"""Purchases to image sets: which images stand for a user, which labels are touched, and which split they fall in.

Two tasks. `interests`: a user's first purchases are the set, and its labels are the union of those items' categories
(the published protocol). `next`: the last purchases before the held-out ones are the set, and the labels are the
categories of the held-out ones.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from pipeline.catalogue.labelled_sets import Sets, write_sets
from pipeline.catalogue.tables import NO_IMAGE, SPLITS, Catalogue
from pipeline.core import handover
from pipeline.core.errors import StageError
from pipeline.core.lock import hold
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings import SetSettings, Settings

MOST_LABELS = 1 << 16  # a set's labels are 16 bits each


@dataclass(frozen=True)
class CatalogueTables:
    """The catalogue, with the tables and columns that `catalogue` names."""

    items: pl.DataFrame
    purchases: pl.DataFrame
    rejects: pl.DataFrame

    @classmethod
    def of(cls, opened: Catalogue) -> "CatalogueTables":
        """Reads the tables.

        Raises:
            StageError: when one is missing, damaged, or of another catalogue.
        """
        items, purchases, rejects = (opened.table(name) for name in ("items", "purchases", "rejects"))
        return cls(items, purchases, rejects)


@dataclass(frozen=True)
class Labels:
    """Which labels there are, and which items have them.

    Attributes:
        names: of the labels, in index order.
        of_items: item_id, label: one row for each label of each item, rare labels included.
    """

    names: list[str]
    of_items: pl.DataFrame


@dataclass(frozen=True)
class LabelledSets:
    """The sets, and who has none.

    Attributes:
        frame: the columns of sets.parquet, by set_id.
        users: how many users there are, and how many fell out for which reason.
    """

    frame: pl.DataFrame
    users: dict[str, int]


def make_sets(project: Project, settings: "Settings") -> None:
    """Writes sets.parquet, labels.json and description.json from the catalogue.

    Raises:
        StageError: when no label or no set is left, or a split is empty.
    """
    with hold(project.sets, project.labels, project.description):
        opened = Catalogue.open(project.catalogue)
        tables, images = CatalogueTables.of(opened), opened.images()
        of_items = label_items(tables.items, settings.sets)
        labels = Labels(frequent_labels(of_items, settings.sets), of_items)
        sets = build_sets(tables, labels, settings.sets)
        images_digest = images.digest()
        digest = write_sets(
            project.sets, project.labels, frame=sets.frame, labels=labels.names, images_digest=images_digest
        )
        source = settings.source.name
        description = {
            "source": source,
            "simulated": source == "demo",
            "sets_digest": digest,
            **describe(tables, labels, sets, distinct_images=len(images)),
            "unreadable_images": touched_by_unreadable(tables, labels, sets.frame),
        }
        handover.write_record(project.description, description)


def of_one_image(project: Project, sets: Sets, settings: "SetSettings") -> pl.DataFrame:
    """The same users' sets with their first image alone, labelled by it alone.

    Args:
        project: whose catalogue.
        sets: those that were made of it.
        settings: those of the sets.

    Returns:
        The columns of sets.parquet.

    Raises:
        StageError: when the catalogue is missing or damaged, or the sets were made of another.
    """
    opened, settings = Catalogue.open(project.catalogue), settings.model_copy(update={"max_images": 1})
    if opened.images().digest() != sets.images_digest:
        raise StageError(f"{project.sets} was made of other images than {project.catalogue} holds: run visagg sets")
    tables = CatalogueTables.of(opened)
    return build_sets(tables, Labels(sets.labels, label_items(tables.items, settings)), settings).frame


def label_items(items: pl.DataFrame, settings: "SetSettings") -> pl.DataFrame:
    """The labels of each item: every category on every path, less the stop categories.

    Returns:
        item_id, label: one row for each label of each item.
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


def build_sets(tables: CatalogueTables, labels: Labels, settings: "SetSettings") -> LabelledSets:
    """Sets with at least one image and one label, by user.

    Raises:
        StageError: when no set is left, or a split is empty.
    """
    counts = tables.purchases.group_by("user_id").len()
    users = counts.filter(pl.col("len") <= settings.drop_above_mean * pl.col("len").mean()).select("user_id")
    users = users.with_columns(assign_splits(users["user_id"], settings)).sort("user_id")
    rows = tables.purchases.with_row_index("order").join(users, on="user_id").sort("user_id", "time", "order")
    rows = _only_new_or_old(rows, settings)
    choose = _interests if settings.task == "interests" else _next
    shown, labelled = choose(rows, tables.items, settings)
    images = shown.group_by("user_id", maintain_order=True).agg(images=pl.col("image").unique(maintain_order=True))
    sets = images.join(_indices(labelled, labels), on="user_id").join(users, on="user_id").sort("user_id")
    _require_splits(sets)
    return LabelledSets(
        sets.rename({"user_id": "set_id"}),
        {
            "users": len(counts),
            "users_above_limit": len(counts) - len(users),
            "users_without_image": len(users) - len(images),
            "users_without_label": len(images) - len(sets),
        },
    )


def assign_splits(user_ids: pl.Series, settings: "SetSettings") -> pl.Series:
    """A split for each user, by a hash of the id and the seed: adding users moves nobody."""
    shares = settings.split

    def split_of(user_id: str) -> str:
        number = _uniform(f"{shares.seed}:{user_id}")
        return "test" if number < shares.test else "validation" if number < shares.test + shares.validation else "train"

    return pl.Series("split", [split_of(user_id) for user_id in user_ids], dtype=SPLITS)


def _only_new_or_old(rows: pl.DataFrame, settings: "SetSettings") -> pl.DataFrame:
    """Purchases; where some items are new, training users' without those, the rest of the users' without the rest."""
    if not settings.new_items:
        return rows
    items = rows.select(pl.col("item_id").unique().sort())
    new = [_uniform(f"{settings.split.seed}:item:{item_id}") < settings.new_items for item_id in items["item_id"]]
    rows = rows.join(items.with_columns(pl.Series("new", new)), on="item_id", maintain_order="left")
    return rows.filter(pl.col("new") == (pl.col("split") != "train")).drop("new")


def _uniform(text: str) -> float:
    """A number in [0, 1) that a text always has; over many texts it is uniform."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _interests(rows: pl.DataFrame, items: pl.DataFrame, settings: "SetSettings") -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first items with an image of each user: what is shown, and what is labelled, are the same."""
    shown = _with_images(rows, items, keep="first").group_by("user_id", maintain_order=True).head(settings.max_images)
    return shown, shown.select("user_id", "item_id")


def _next(rows: pl.DataFrame, items: pl.DataFrame, settings: "SetSettings") -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is shown: the last items with an image before the held-out ones. What is labelled: the held-out ones.

    Held out is what the source leaves out for validation and test, or, where it does not split, the last few.
    """
    from_the_end = pl.int_range(pl.len(), 0, -1).over("user_id")
    divided = pl.col("source_split").is_not_null().any().over("user_id")
    by_source, by_count = pl.col("source_split") != "train", from_the_end <= settings.held_out
    rows = rows.with_columns(held_out=pl.when(divided).then(by_source).otherwise(by_count).fill_null(False))
    earlier = _with_images(rows.filter(~pl.col("held_out")), items, keep="last")
    shown = earlier.group_by("user_id", maintain_order=True).tail(settings.max_images)
    return shown, rows.filter("held_out").select("user_id", "item_id")


def _with_images(rows: pl.DataFrame, items: pl.DataFrame, *, keep: Literal["first", "last"]) -> pl.DataFrame:
    """Rows whose item has an image; an item bought twice counts once, when it was bought first or last."""
    pictured = items.filter(pl.col("image").is_not_null()).select("item_id", "image")
    return rows.join(pictured, on="item_id", maintain_order="left").unique(
        ["user_id", "item_id"], keep=keep, maintain_order=True
    )


def _indices(labelled: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """The labels of each user's items, as ascending indices: user_id, labels."""
    index = pl.DataFrame(
        {"label": labels.names, "index": range(len(labels.names))}, schema={"label": pl.String, "index": pl.UInt16}
    )
    rows = labelled.join(labels.of_items.join(index, on="label"), on="item_id")
    return rows.group_by("user_id").agg(labels=pl.col("index").unique().sort())


def _require_splits(sets: pl.DataFrame) -> None:
    """Raises StageError unless every split has a set."""
    if not len(sets):
        raise StageError("no set is left: no user has both a usable image and a label; see rejects.parquet")
    for split in SPLITS.categories:
        if not (sets["split"] == split).any():
            raise StageError(f"no set falls in the {split} split ({len(sets)} sets in all): change sets.split")


def describe(tables: CatalogueTables, labels: Labels, sets: LabelledSets, *, distinct_images: int) -> dict:
    """What the data are, and what could not be used: the content of description.json."""
    reasons = tables.rejects.group_by("stage", "reason").len().sort("stage", "reason")
    frequency = sets.frame["labels"].explode().value_counts()
    return {
        "items": len(tables.items),
        "items_with_image": len(tables.items) - tables.items["image"].null_count(),
        "distinct_images": distinct_images,
        "purchases": len(tables.purchases),
        **sets.users,
        "sets": _describe_splits(sets.frame),
        "labels": len(labels.names),
        "sets_a_label": {labels.names[label]: count for label, count in sorted(frequency.iter_rows())},
        "rejects": {f"{stage}: {reason}": count for stage, reason, count in reasons.iter_rows()},
    }


def _describe_splits(sets: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Of each split: how many sets, how large, and how much of what they show training shows too."""
    trained = sets.filter(pl.col("split") == "train")["images"].explode().unique().implode()
    measured = {
        "images_a_set": pl.col("images").list.len().mean(),
        "labels_a_set": pl.col("labels").list.len().mean(),
        "share_of_images_in_training": pl.col("images").explode().is_in(trained).mean(),
    }
    parts = {split: sets.filter(pl.col("split") == split) for split in SPLITS.categories}
    return {
        split: {"sets": len(part), **{name: round(part.select(mean).item(), 3) for name, mean in measured.items()}}
        for split, part in parts.items()
    }


def touched_by_unreadable(tables: CatalogueTables, labels: Labels, sets: pl.DataFrame) -> dict[str, int]:
    """How far unreadable images reach: items that have one, sets whose user bought such an item, labels they have."""
    unreadable = (pl.col("stage") == "image") & (pl.col("reason") != NO_IMAGE)
    items = tables.rejects.filter(unreadable).select("item_id").unique()
    users = tables.purchases.join(items, on="item_id", how="semi").select(set_id="user_id").unique()
    touched = labels.of_items.join(items, on="item_id", how="semi").filter(pl.col("label").is_in(labels.names))
    return {
        "items": len(items),
        "sets": len(sets.join(users, on="set_id", how="semi")),
        "labels": touched["label"].n_unique(),
    }
