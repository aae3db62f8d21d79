"""Labelled image sets: what `visagg sets` hands over to every head."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from typing_extensions import TypedDict

from pipeline.catalogue.tables import SPLITS
from pipeline.core import handover
from pipeline.core.files import write_aside
from pipeline.core.handover import Hex

SETS = pl.Schema(
    {"set_id": pl.String(), "images": pl.List(pl.UInt32()), "labels": pl.List(pl.UInt16()), "split": SPLITS}
)
IMAGE_LABELS = pl.Schema({"image": pl.UInt32(), "labels": pl.List(pl.UInt16())})
MAKE_SETS = "run visagg sets"  # what makes them anew, for messages


class LabelRecord(TypedDict):
    """What labels.json holds: names in index order, and digests of both tables and of the images."""

    labels: list[str]
    sets: Hex
    image_labels: Hex
    images_digest: Hex
    seal: Hex


@dataclass(frozen=True)
class Sets:
    """Labelled image sets.

    Attributes:
        frame: the columns of sets.parquet.
        labels: names, in index order.
        images_digest: of the images that the sets' rows point into.
        digest: of all of this: what is made of these sets keeps it, and is of no use with others.
    """

    frame: pl.DataFrame
    labels: list[str]
    images_digest: str
    digest: str

    def split(self, name: str) -> pl.DataFrame:
        """The sets of one split."""
        return self.frame.filter(pl.col("split") == name)


@dataclass(frozen=True)
class SetFiles:
    """Where labelled sets lie: sets.parquet, image_labels.parquet and labels.json, which says which two are meant."""

    sets: Path
    image_labels: Path
    labels: Path


def write_sets(
    files: SetFiles, *, frame: pl.DataFrame, image_labels: pl.DataFrame, labels: list[str], images_digest: str
) -> str:
    """Writes the sets, what each image shows, and the record of both.

    Args:
        files: where they go.
        frame: the columns of sets.parquet.
        image_labels: image, labels: a row for each image that shows a label.
        labels: names, in index order.
        images_digest: of the images that both point into.

    Returns:
        The digest of all of it.
    """
    tables = ((files.sets, frame, SETS), (files.image_labels, image_labels, IMAGE_LABELS))
    sets, shown = (_write_table(path, table, schema) for path, table, schema in tables)
    record = {"labels": labels, "sets": sets, "image_labels": shown, "images_digest": images_digest}
    return handover.write_record(files.labels, record)


def _write_table(path: Path, table: pl.DataFrame, schema: pl.Schema) -> str:
    with write_aside(path) as aside:
        table.select(*schema).cast(schema).write_parquet(aside, compression="zstd")
        return handover.file_digest(aside)


def read_labels(path: Path) -> list[str]:
    """The labels' names, in index order, of labels.json.

    Raises:
        StageError: when the file is missing or damaged.
    """
    return handover.read_record(path, LabelRecord, again=MAKE_SETS)["labels"]


def read_sets(path: Path, labels_path: Path) -> Sets:
    """Reads what `write_sets` wrote.

    Raises:
        StageError: when a file is missing or damaged, or the two are not of one run.
    """
    record = handover.read_record(labels_path, LabelRecord, again=MAKE_SETS)
    frame = handover.read_frame(path, SETS, digest=record["sets"], again=MAKE_SETS)
    labels = record["labels"]
    if len(set(labels)) < len(labels) or (frame["labels"].explode() >= len(labels)).any():
        handover.damaged(labels_path, f"{len(labels)} labels do not fit the sets", again=MAKE_SETS)
    if (frame["images"].list.len() == 0).any() or not frame["set_id"].is_unique().all():
        handover.damaged(path, "a set without an image, or two of one name", again=MAKE_SETS)
    return Sets(frame, labels, record["images_digest"], record["seal"])


def read_image_labels(path: Path, labels_path: Path) -> pl.DataFrame:
    """What each image shows by itself: image (a row of images.h5) and labels; images without a label have no row.

    Training sees sets' labels only. These are for what says so: references, and a backbone tuned on categories.

    Raises:
        StageError: when a file is missing or damaged, or the two are not of one run.
    """
    record = handover.read_record(labels_path, LabelRecord, again=MAKE_SETS)
    frame = handover.read_frame(path, IMAGE_LABELS, digest=record["image_labels"], again=MAKE_SETS)
    if (frame["labels"].explode() >= len(record["labels"])).any() or not frame["image"].is_unique().all():
        handover.damaged(path, "a label out of range, or an image twice", again=MAKE_SETS)
    return frame


def label_matrix(sets: pl.DataFrame, classes: int) -> np.ndarray:
    """Which of c = `classes` labels each set has, of a frame of the columns of sets.parquet: bool [n, c].

    >>> label_matrix(pl.DataFrame({"labels": [[0, 2], [1]]}), classes=3).astype(int).tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    matrix = np.zeros((len(sets), classes), bool)
    for row, labels in enumerate(sets["labels"].to_list()):
        matrix[row, labels] = True
    return matrix
