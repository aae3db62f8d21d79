"""The stage: the catalogue to labelled sets, what each image shows, and a description of both."""

from typing import TYPE_CHECKING

import polars as pl

from pipeline.catalogue.labelled_sets import SetFiles, write_sets
from pipeline.catalogue.tables import NO_IMAGE, SPLITS, Catalogue
from pipeline.core import handover
from pipeline.core.lock import hold
from pipeline.core.text import printable
from pipeline.project import Project
from pipeline.sets.building import CatalogueTables, LabelledSets, build_sets
from pipeline.sets.labels import Labels, count_categories, frequent_labels, label_images, label_items, taken_away

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


def make_sets(project: Project, settings: "Settings") -> str:
    """Writes sets.parquet, image_labels.parquet, labels.json and description.json from the catalogue.

    Returns:
        How many sets there are, who has none and why, and what stop categories take away, for people.

    Raises:
        StageError: when no label or no set is left, or a split is empty.
    """
    files = SetFiles(project.sets, project.image_labels, project.labels)
    with hold(files.sets, files.image_labels, files.labels, project.description):
        opened = Catalogue.open(project.catalogue)
        tables, images = CatalogueTables.of(opened), opened.images()
        source = settings.source.name
        counts = count_categories(tables.items, settings.sets)
        labels = label_items(tables.items, frequent_labels(counts, settings.sets, source=source), settings.sets)
        sets = build_sets(tables, labels, settings.sets)
        digest = write_sets(
            files,
            frame=sets.frame,
            image_labels=label_images(tables.pictured(), labels),
            labels=labels.names,
            images_digest=images.digest(),
        )
        description = {
            "source": settings.source.name,
            "simulated": bool(opened.record["simulated"]),
            "drawn": "images" in opened.record["simulated"],
            "sets_digest": digest,
            **describe(tables, labels, sets, distinct_images=len(images)),
            "unreadable_images": touched_by_unreadable(tables, labels, sets.frame),
        }
        handover.write_record(project.description, description)
    stopped = taken_away(counts, settings.sets, source)
    return "\n".join(
        [*_summary(description, project), *_said_of(stopped, is_chosen=settings.sets.stop_categories != "auto")]
    )


def _summary(description: dict, project: Project) -> list[str]:
    """How many sets there are, and who has none."""
    splits = {split: part["sets"] for split, part in description["sets"].items()}
    named = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    lines = [
        f"sets: {sum(splits.values()):,} sets ({named}) with {description['labels']:,} labels, "
        f"of {description['users']:,} users: {project.sets}"
    ]
    reasons = {
        "users_above_limit": "more purchases than sets.drop_above_mean allows",
        "users_without_image": "no usable image",
        "users_without_label": "no label that is frequent enough",
    }
    return lines + [f"{description[key]:>12,} users: {why}" for key, why in reasons.items() if description[key]]


def _said_of(stopped: dict[str, int], *, is_chosen: bool) -> list[str]:
    """What stop categories take away, and which of those that were chosen do nothing."""
    taken = ", ".join(f"{printable(name)} ({count:,} items)" for name, count in stopped.items() if count)
    lines = [f"sets: no labels, by sets.stop_categories: {taken}"] if taken else []
    idle = ", ".join(printable(name) for name, count in stopped.items() if not count) if is_chosen else ""
    return lines + ([f"sets: stop categories that no item has: {idle}"] if idle else [])


def describe(tables: CatalogueTables, labels: Labels, sets: LabelledSets, *, distinct_images: int) -> dict:
    """What the data are, and what could not be used: the content of description.json."""
    frequency = sets.frame["labels"].explode().value_counts()
    return {
        "items": len(tables.items),
        "items_with_image": len(tables.pictured()),
        "distinct_images": distinct_images,
        "purchases": len(tables.purchases),
        **sets.users,
        "sets": _describe_splits(sets.frame),
        "labels": len(labels.names),
        "sets_a_label": {labels.names[label]: count for label, count in sorted(frequency.iter_rows())},
        "rejects": {f"{stage}: {reason}": count for stage, reason, count in tables.counts.iter_rows()},
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
    items = tables.rejects.read("item_id", where=unreadable).unique()
    bought = (
        rows.join(items, on="item_id", how="semi").select(set_id="user_id")
        for rows in tables.purchases.blocks("user_id", "item_id")
    )
    users = pl.concat([*bought, sets.select("set_id").clear()]).unique()
    return {
        "items": len(items),
        "sets": len(sets.join(users, on="set_id", how="semi")),
        "labels": labels.of_items.join(items, on="item_id", how="semi")["labels"].explode().n_unique(),
    }
