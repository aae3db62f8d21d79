"""Which images a backbone is trained on, and which choose its epoch."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.catalogue.images import Images
from pipeline.catalogue.labelled_sets import label_matrix, read_image_labels, read_sets
from pipeline.core import provenance
from pipeline.core.errors import StageError
from pipeline.project import Project


@dataclass(frozen=True)
class Examples:
    """Images with the labels that they have by themselves.

    Attributes:
        rows: rows of images.h5, integer [m], ascending.
        labels: bool [m, c].
    """

    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: np.ndarray) -> "Examples":
        """Those that a bool [m] chooses."""
        return Examples(self.rows[chosen], self.labels[chosen])

    def digest(self) -> str:
        """Of rows and labels."""
        return provenance.digest(self.rows.astype(np.int64).tobytes() + np.packbits(self.labels).tobytes()).hex()


def load_examples(project: Project, images: Images) -> tuple[Examples, Examples]:
    """Images that train, and images that validate; both have labels, and no test user shows one of either.

    Raises:
        StageError: when the sets are missing, damaged, or of other images, or nothing is left to train or validate on.
    """
    sets, shown = read_sets(project.sets, project.labels), read_image_labels(project.image_labels, project.labels)
    if sets.images_digest != images.digest():
        raise StageError(f"{project.sets} is of other images than {project.images}: run visagg sets, or dvc repro")
    of_split = {name: _images(sets.split(name)) for name in ("train", "validation", "test")}
    train = of_split["train"] - of_split["validation"] - of_split["test"]
    validation = of_split["validation"] - of_split["test"]
    if min(len(train), len(validation)) < 2:
        raise StageError(
            f"finetune: of {len(of_split['train'])} training images, {len(train)} are shown by no validation or test "
            "user, and only these may train: set sets.new_items to 0.4, so that some items are kept for them"
        )
    return tuple(_labelled(rows, shown, len(sets.labels)) for rows in (train, validation))  # type: ignore[return-value]


def _images(sets: pl.DataFrame) -> set[int]:
    return set(sets["images"].explode().to_list())


def _labelled(rows: set[int], shown: pl.DataFrame, classes: int) -> Examples:
    chosen = shown.filter(pl.col("image").is_in(sorted(rows))).sort("image")
    return Examples(chosen["image"].to_numpy().astype(np.int64), label_matrix(chosen, classes))
