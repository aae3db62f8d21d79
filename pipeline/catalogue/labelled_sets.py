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
MAKE_SETS = "run visagg sets"  # what makes them anew, for messages


class LabelRecord(TypedDict):
    """What labels.json holds: names in index order, and digests of sets.parquet and of the images."""

    labels: list[str]
    sets: Hex
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


def write_sets(path: Path, labels_path: Path, *, frame: pl.DataFrame, labels: list[str], images_digest: str) -> str:
    """Writes sets.parquet, and labels.json, which says which sets are meant.

    Returns:
        The digest of both.
    """
    with write_aside(path) as aside:
        frame.select(*SETS).cast(SETS).write_parquet(aside, compression="zstd")
        digest = handover.file_digest(aside)
    return handover.write_record(labels_path, {"labels": labels, "sets": digest, "images_digest": images_digest})


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


def label_matrix(sets: pl.DataFrame, classes: int) -> np.ndarray:
    """Which of c = `classes` labels each set has, of a frame of the columns of sets.parquet: bool [n, c].

    >>> label_matrix(pl.DataFrame({"labels": [[0, 2], [1]]}), classes=3).astype(int).tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    matrix = np.zeros((len(sets), classes), bool)
    for row, labels in enumerate(sets["labels"].to_list()):
        matrix[row, labels] = True
    return matrix
