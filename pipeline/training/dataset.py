"""Sets and their vectors to padded, masked batches, and to a head's scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import chain

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline.catalogue.labelled_sets import Sets, label_matrix
from pipeline.core import provenance
from pipeline.core.errors import StageError
from pipeline.embeddings.store import Embeddings
from pipeline.heads.classifier import SetClassifier
from pipeline.training.vectors import Map, Vectors, open_vectors

SMALLEST_STD = 1e-6
SCORING_BATCH = 128  # sets scored at a time; more are no faster, and take memory


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """The sets of one split with their vectors.

    Attributes:
        set_ids: names of the sets, in their order.
        images: rows of the store that the vectors are from, int64 [m].
        vectors: of the m distinct images.
        rows: each set's images as positions in `vectors`, int64 [n, s]; m at padding.
        mask: bool [n, s], True where there is an image.
        y: labels, float32 [n, c], 0 or 1.
    """

    set_ids: list[str]
    images: Tensor
    vectors: Vectors
    rows: Tensor
    mask: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, sets: Tensor | slice) -> Batch:
        """Some sets, by their position, as a batch."""
        vectors, rows = self.vectors.table(self.rows[sets])
        return Batch(vectors[rows], self.mask[sets], self.y[sets])

    def batches(self, size: int) -> Iterator[Batch]:
        """All sets in their order, at most `size` of them a batch."""
        return (self.batch(positions) for positions in torch.arange(len(self)).split(size))

    def truth(self) -> np.ndarray:
        """Labels as bool [n, c]."""
        return self.y.numpy() > 0

    def standardised(self, mean: Tensor, std: Tensor) -> "Dataset":
        """The same sets with each vector less `mean` and divided by `std`, float32 [d] each; padding stays zeros."""
        return self.mapped(lambda vectors: (vectors - mean) / std)

    def mapped(self, function: Map) -> "Dataset":
        """The same sets with what a function makes of each vector: float32 [k, d] to float32 [k, d'], row by row."""
        return replace(self, vectors=self.vectors.mapped(function))

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the distinct images' vectors, float32 [d] each, summed in float64.

        A dimension that does not vary has a deviation of 1: less its mean, it is left as it is.
        """
        near = next(self.vectors.blocks()).double().mean(0)  # sums of squares about it lose no digit
        total = squares = torch.zeros_like(near)
        for block in self.vectors.blocks():
            away = block.double().sub_(near)
            total = total + away.sum(0)
            squares = squares + away.square_().sum(0)
        mean = total / len(self.vectors)
        std = (squares / len(self.vectors) - mean.square()).clamp_min(0).sqrt().float()
        return (near + mean).float(), torch.where(std > SMALLEST_STD, std, 1.0)

    @cached_property
    def digest(self) -> str:
        """A digest of all that it holds."""
        total = blake2b(digest_size=provenance.DIGEST_BYTES)
        for tensor in chain((self.rows, self.mask, self.y), self.vectors.blocks()):  # a block at a time
            array = np.ascontiguousarray(tensor.numpy())
            total.update(f"{array.dtype.str} {array.shape}\n".encode())
            total.update(array.data)
        return total.hexdigest()


def load(sets: Sets, store: Embeddings, split: str) -> Dataset:
    """One split's sets and the vectors of their images, and nothing of the other splits.

    An unreadable image leaves its set as if it had never been there; a set that has no other image is left out.

    Raises:
        StoreError: when the store is of other images than the sets, unfinished, or damaged.
        StageError: when the split is empty.
    """
    store.require_images(sets.images_digest)
    return gather(sets.split(split), len(sets.labels), store, name=f"the {split} split")


def gather(sets: pl.DataFrame, classes: int, store: Embeddings, *, name: str, least_images: int = 0) -> Dataset:
    """Sets with their vectors.

    Args:
        sets: a frame of the columns of sets.parquet.
        classes: c, how many labels there are.
        store: the vectors.
        name: of the sets, for messages.
        least_images: the least s, reached by padding.

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
    vectors = open_vectors(store, images.astype(np.int64))
    lists = [np.searchsorted(images, rows) for rows in sets["images"].to_list()]
    rows, mask = _pad(lists, len(images), least_images)
    y = label_matrix(sets, classes).astype(np.float32)
    arrays = {"images": images.astype(np.int64), "rows": rows, "mask": mask, "y": y}
    tensors = {attribute: torch.from_numpy(array) for attribute, array in arrays.items()}
    return Dataset(set_ids=sets["set_id"].to_list(), vectors=vectors, **tensors)


def scores(head: SetClassifier, data: Dataset) -> np.ndarray:
    """A head's probabilities of every set and label: float32 [n, c]. Leaves the head in evaluation mode.

    Raises:
        StageError: when one is not finite, for nothing that is measured of it would mean anything.
    """
    return torch.sigmoid(logits(head, data)).numpy()


def logits(head: SetClassifier, data: Dataset) -> Tensor:
    """As `scores`, before the sigmoid."""
    return logits_of([head], data)[0]


def logits_of(heads: Sequence[SetClassifier], data: Dataset) -> list[Tensor]:
    """As `logits`, of several heads that take the same vectors, each of which is looked up once for all."""
    # Filled, not put together of pieces: small ones that stay among large ones that go would tear the memory to shreds.
    found = [torch.empty(len(data), data.y.shape[1]) for _ in heads]
    with torch.inference_mode():
        for sets in torch.arange(len(data)).split(SCORING_BATCH):
            positions, rows = torch.unique(data.rows[sets], return_inverse=True)
            vectors, shown = data.vectors.take(positions), positions < len(data.vectors)
            for head, values in zip(heads, found, strict=True):
                x = head.eval().standardised(vectors, shown)
                values[sets] = head.logits_of_rows(x, rows, data.mask[sets])
    if any(values.isnan().any() for values in found):
        raise StageError("a score is not finite: the head's parameters have overflowed; lower train.learning_rates")
    return found


def _pad(lists: list[np.ndarray], padding: int, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists of rows to int64 [n, s], s at least `least`, filled up with `padding`, and the mask bool [n, s]."""
    lengths = np.array([len(rows) for rows in lists])
    mask = np.arange(max(lengths.max(), least)) < lengths[:, None]
    rows = np.full(mask.shape, padding, np.int64)
    rows[mask] = np.concatenate(lists)
    return rows, mask
