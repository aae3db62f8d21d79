"""Sets and their vectors to padded, masked batches, and to a head's scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline import catalogue
from pipeline.embeddings import Embeddings
from pipeline.errors import StageError, StoreError
from pipeline.heads.classifier import SetClassifier

SCORING_BATCH = 512  # sets scored at a time; scoring needs no gradient and little memory


@dataclass(frozen=True)
class Batch:
    """A few sets.

    Attributes:
        x: vectors, float32 [b, s, d]; zeros at padding.
        mask: bool [b, s], True where there is an image.
        y: labels, float32 [b, c], 0 or 1.
    """

    x: Tensor
    mask: Tensor
    y: Tensor


class SetData:
    """The sets of one split with their vectors, held in memory once.

    Attributes:
        set_ids: names of the sets, in their order.
        images: rows of the store that the vectors are from, int64 [m].
        vectors: distinct images' vectors, float32 [m + 1, d]; the last row is zeros, for padding.
        rows: each set's images as rows of `vectors`, int64 [n, s].
        mask: bool [n, s].
        y: float32 [n, c].
    """

    def __init__(self, set_ids: list[str], images: Tensor, vectors: Tensor, rows: Tensor, mask: Tensor, y: Tensor):
        self.set_ids, self.images = set_ids, images
        self.vectors, self.rows, self.mask, self.y = vectors, rows, mask, y

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, sets: Tensor | slice) -> Batch:
        """Some sets, by their position, as a batch."""
        return Batch(self.vectors[self.rows[sets]], self.mask[sets], self.y[sets])

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """All sets in batches of at most `size`, in their own order or another: int64 [n]."""
        order = torch.arange(len(self)) if order is None else order
        return (self.batch(part) for part in order.split(size))

    def truth(self) -> np.ndarray:
        """Labels as bool [n, c]."""
        return self.y.numpy() > 0

    def standardised(self, mean: Tensor, std: Tensor) -> "SetData":
        """The same sets with each vector less `mean` and divided by `std`, float32 [d] each; padding stays zeros."""
        vectors = (self.vectors - mean) / std
        vectors[-1] = 0.0
        return SetData(self.set_ids, self.images, vectors, self.rows, self.mask, self.y)

    def with_vectors(self, vectors: np.ndarray) -> "SetData":
        """The same sets with other vectors of the same images, float32 [m + 1, any width], zeros in the last row."""
        return SetData(self.set_ids, self.images, torch.from_numpy(vectors), self.rows, self.mask, self.y)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the distinct images' vectors, float32 [d] each, summed in float64."""
        vectors = self.vectors[:-1].double()
        return vectors.mean(0).float(), vectors.std(0, correction=0).float()


def load(sets_path: Path, labels_path: Path, store: Embeddings, split: str) -> SetData:
    """Reads one split's sets and the vectors of their images, and nothing of the other splits.

    An unreadable image leaves its set as if it had never been there; a set that has no other image is left out.

    Raises:
        StoreError: when the store is of other images than the sets, unfinished, or damaged.
        StageError: when the split is empty.
    """
    names, images_digest = catalogue.read_labels(labels_path)
    if store.images_digest() != images_digest:
        raise StoreError(f"{store.path} holds other images than the sets: run visagg embed {store.path.stem} again")
    sets = catalogue.read_table(sets_path).filter(pl.col("split") == split)
    return gather(sets, len(names), store, f"the {split} split")


def gather(sets: pl.DataFrame, labels: int, store: Embeddings, name: str, width: int = 0) -> SetData:
    """Sets with their vectors.

    Args:
        sets: a frame of the columns of sets.parquet.
        labels: how many labels there are.
        store: the vectors.
        name: of the sets, for messages.
        width: images a set at least, filled up with padding.

    Raises:
        StoreError, StageError: as `load`.
    """
    long = sets.select("set_id", "images").explode("images")
    unreadable = pl.Series(store.unreadable(), dtype=pl.UInt32)
    long = long.filter(~pl.col("images").is_in(unreadable.implode()))
    sets = sets.drop("images").join(
        long.group_by("set_id", maintain_order=True).agg("images"), on="set_id", maintain_order="left"
    )
    if not len(sets):
        raise StageError(f"no set of {name} has a readable image")
    images = long["images"].unique().sort().to_numpy()
    vectors = np.zeros((len(images) + 1, store.width), np.float32)
    vectors[:-1] = store.read(images)
    rows, mask = _pad([np.searchsorted(images, own) for own in sets["images"].to_list()], len(images), width)
    y = np.zeros((len(sets), labels), np.float32)
    for position, labels in enumerate(sets["labels"].to_list()):
        y[position, labels] = 1.0
    arrays = (images.astype(np.int64), vectors, rows, mask, y)
    return SetData(sets["set_id"].to_list(), *map(torch.from_numpy, arrays))


def scores(head: SetClassifier, data: SetData) -> np.ndarray:
    """Probabilities of every set and label: float32 [n, c]."""
    head.eval()
    with torch.inference_mode():
        vectors = head.standardised(data.vectors, torch.arange(len(data.vectors)) < len(data.images))
        pairs = zip(data.rows.split(SCORING_BATCH), data.mask.split(SCORING_BATCH))
        parts = [torch.sigmoid(head.logits_of_rows(vectors, rows, mask)) for rows, mask in pairs]
    return torch.cat(parts).numpy()


def _pad(lists: list[np.ndarray], padding: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists of rows to int64 [n, s], s at least `width`, filled up with `padding`, and the mask bool [n, s]."""
    lengths = np.array([len(rows) for rows in lists])
    mask = np.arange(max(lengths.max(), width)) < lengths[:, None]
    rows = np.full(mask.shape, padding, np.int64)
    rows[mask] = np.concatenate(lists)
    return rows, mask
