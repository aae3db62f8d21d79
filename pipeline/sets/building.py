"""Purchases to labelled sets, by user."""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import polars as pl

from pipeline.catalogue.labelled_sets import SETS, Sets
from pipeline.catalogue.tables import COUNTS, PURCHASES, SPLITS, Catalogue
from pipeline.core.errors import StageError
from pipeline.core.table import Table
from pipeline.project import Project
from pipeline.sets.labels import Labels, label_items, union_of_labels

if TYPE_CHECKING:
    from pipeline.settings.sections import SetSettings


@dataclass(frozen=True)
class CatalogueTables:
    """The catalogue, with the tables and columns that `catalogue` names; purchases by user."""

    items: Table
    purchases: Table
    rejects: Table
    counts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COUNTS))

    @classmethod
    def of(cls, opened: Catalogue) -> "CatalogueTables":
        """Opens the tables.

        Raises:
            StageError: when one is missing, damaged, or of another catalogue.
        """
        items, purchases, rejects = (opened.table(name) for name in ("items", "purchases", "rejects"))
        return cls(items, purchases, rejects, opened.counts())

    def pictured(self) -> pl.DataFrame:
        """Items that have an image: item_id, image."""
        return self.items.read("item_id", "image", where=pl.col("image").is_not_null())


@dataclass(frozen=True)
class LabelledSets:
    """The sets, and who has none.

    Attributes:
        frame: the columns of sets.parquet, by set_id.
        users: how many users there are, and how many fell out for which reason.
    """

    frame: pl.DataFrame
    users: dict[str, int]


def build_sets(tables: CatalogueTables, labels: Labels, settings: "SetSettings") -> LabelledSets:
    """Sets with at least one image and one label, by user; some hundred thousand purchases at a time.

    Raises:
        StageError: when no set is left, or a split is empty.
    """
    purchases, pictured = tables.purchases, tables.pictured()
    users = sum(block["user_id"].n_unique() for block in purchases.blocks("user_id", whole="user_id"))
    limit = settings.drop_above_mean * len(purchases) / max(users, 1)
    parts = [
        _sets_of(rows.filter(pl.len().over("user_id") <= limit), pictured, labels, settings=settings)
        for rows in purchases.blocks(*PURCHASES, whole="user_id")
    ]
    frame = pl.concat([part.frame for part in parts]).sort("set_id") if parts else pl.DataFrame(schema=SETS)
    _require_splits(frame)
    within = sum(part.users["users"] for part in parts)
    fell_out = {
        name: sum(part.users[name] for part in parts) for name in ("users_without_image", "users_without_label")
    }
    return LabelledSets(frame, {"users": users, "users_above_limit": users - within, **fell_out})


def _sets_of(
    purchases: pl.DataFrame, pictured: pl.DataFrame, labels: Labels, *, settings: "SetSettings"
) -> LabelledSets:
    """The sets of some users, of all their purchases and all items that have an image."""
    users = purchases.select(pl.col("user_id").unique().sort())
    users = users.with_columns(assign_splits(users["user_id"], settings))
    rows = purchases.with_row_index("order").join(users, on="user_id").sort("user_id", "time", "order")
    rows = _only_new_or_old(rows, settings)
    choose = _interests if settings.task == "interests" else _next
    shown, labelled = choose(rows, pictured, settings)
    images = shown.group_by("user_id", maintain_order=True).agg(images=pl.col("image").unique(maintain_order=True))
    sets = images.join(union_of_labels(labelled, labels), on="user_id").join(users, on="user_id")
    return LabelledSets(
        sets.select(set_id="user_id", **{name: name for name in list(SETS)[1:]}),
        {
            "users": len(users),
            "users_without_image": len(users) - len(images),
            "users_without_label": len(images) - len(sets),
        },
    )


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
    return build_sets(tables, label_items(tables.items, sets.labels, settings), settings).frame


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


Chosen = tuple[pl.DataFrame, pl.DataFrame]  # rows that are shown, rows that are labelled


def _interests(rows: pl.DataFrame, pictured: pl.DataFrame, settings: "SetSettings") -> Chosen:
    """The first items with an image of each user: what is shown, and what is labelled, are the same."""
    first = _with_images(rows, pictured, keep="first").group_by("user_id", maintain_order=True)
    shown = first.head(settings.max_images)
    return shown, shown.select("user_id", "item_id")


def _next(rows: pl.DataFrame, pictured: pl.DataFrame, settings: "SetSettings") -> Chosen:
    """What is shown: the last items with an image before the held-out ones. What is labelled: the held-out ones.

    Held out is what the source leaves out for validation and test, or, where it does not split, the last few.
    """
    from_the_end = pl.int_range(pl.len(), 0, -1).over("user_id")
    divided = pl.col("source_split").is_not_null().any().over("user_id")
    by_source, by_count = pl.col("source_split") != "train", from_the_end <= settings.held_out
    rows = rows.with_columns(held_out=pl.when(divided).then(by_source).otherwise(by_count).fill_null(False))
    earlier = _with_images(rows.filter(~pl.col("held_out")), pictured, keep="last")
    shown = earlier.group_by("user_id", maintain_order=True).tail(settings.max_images)
    return shown, rows.filter("held_out").select("user_id", "item_id")


def _with_images(rows: pl.DataFrame, pictured: pl.DataFrame, *, keep: Literal["first", "last"]) -> pl.DataFrame:
    """Rows whose item has an image; an item bought twice counts once, when it was bought first or last."""
    return rows.join(pictured, on="item_id", maintain_order="left").unique(
        ["user_id", "item_id"], keep=keep, maintain_order=True
    )


def _require_splits(sets: pl.DataFrame) -> None:
    """Raises StageError unless every split has a set."""
    if not len(sets):
        raise StageError("no set is left: no user has both a usable image and a label; see rejects.parquet")
    for split in SPLITS.categories:
        if not (sets["split"] == split).any():
            raise StageError(f"no set falls in the {split} split ({len(sets)} sets in all): change sets.split")
