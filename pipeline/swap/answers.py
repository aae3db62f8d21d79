"""Heads' answers to the compared sets, with one backbone's vectors after another."""

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from pipeline.core.processes import in_processes
from pipeline.core.progress import Counter
from pipeline.metrics.bootstrap import measuring_processes
from pipeline.metrics.selection import micro_of_seeds
from pipeline.swap.adapters import Adapter
from pipeline.training.checkpoint import TrainedHead
from pipeline.training.dataset import Dataset, logits_of

MOST_SCORES = 1 << 27  # bytes of scores of heads that are asked at once, each vector adapted once for all of them

Values = dict[str, np.ndarray]  # a metric of each seed in every sample, all users first: float64 [seeds, 1 + t]


@dataclass(frozen=True)
class PairedSets:
    """The sets that heads are compared on, with both backbones' vectors.

    Attributes:
        old: the sets with the old backbone's vectors.
        new: the same sets with the new one's.
        floor: popularity's metric values.
        samples: float32 [1 + t, n]: ones, then how often each set is in each bootstrap sample; the same for every head
            and backbone, so that differences are paired.
        k: how many best labels are compared.
    """

    old: Dataset
    new: Dataset
    floor: Values
    samples: np.ndarray
    k: int

    @property
    def truth(self) -> np.ndarray:
        """Labels as bool [n, c]."""
        return self.old.truth()

    @property
    def same_dim(self) -> bool:
        """Whether the new vectors fit into old heads without an adapter, by their dim alone."""
        return self.old.vectors.dim == self.new.vectors.dim


@dataclass(frozen=True)
class Scored:
    """A head's answers to some sets.

    Attributes:
        scores: float32 [n, c], one a seed.
        predicted: the labels that it decides for, bool [n, c], one a seed.
        values: its metric values.
    """

    scores: list[np.ndarray]
    predicted: list[np.ndarray]
    values: Values


Asked = tuple[Mapping[str, TrainedHead], Dataset]  # heads by name, and the sets with the vectors that they get


def in_parts(heads: Mapping[str, TrainedHead], sets: PairedSets) -> Iterator[dict[str, TrainedHead]]:
    """The heads in their order, as many at a time as there is memory for the scores of."""
    part: dict[str, TrainedHead] = {}
    for name, head in heads.items():
        seeds = sum(len(other.heads) for other in [*part.values(), head])
        if part and seeds * sets.old.y.numel() * np.dtype(np.float32).itemsize > MOST_SCORES:
            yield part
            part = {}
        part[name] = head
    if part:
        yield part


def answers(asked: Sequence[Asked], sets: PairedSets, progress: Counter) -> Generator[Scored]:
    """What heads say of the compared sets: of all that is asked, head by head in its order; each answer is counted.

    Heads are asked here, and their answers measured by processes, where there is enough to do.
    """
    waiting: deque[tuple[list[np.ndarray], list[float]]] = deque()

    def tasks() -> Iterator[tuple[list[np.ndarray], np.ndarray, list[float]]]:
        for heads, data in asked:
            for part in in_parts(heads, sets):
                logits = iter(logits_of([seed for head in part.values() for seed in head.heads], data))
                for head in part.values():
                    scores = [torch.sigmoid(next(logits)).numpy() for _ in head.heads]
                    waiting.append((scores, head.thresholds))
                    yield scores, sets.truth, head.thresholds

    runs = sum(len(head.heads) for heads, _ in asked for head in heads.values())
    jobs = measuring_processes(sets.old.y.numel(), runs, resamples=len(sets.samples))
    do = partial(micro_of_seeds, weights=sets.samples)
    with closing(in_processes(do, tasks(), jobs=jobs, window=jobs + 1)) as measured:
        for values in measured:
            scores, thresholds = waiting.popleft()
            progress.add()
            predicted = [seed >= threshold for seed, threshold in zip(scores, thresholds, strict=True)]
            yield Scored(scores, predicted, values)


def adapted(data: Dataset, adapter: Adapter) -> Dataset:
    """The same sets with their vectors as an adapter maps them; padding stays zeros.

    >>> from pipeline.training.vectors import HeldVectors
    >>> vectors = HeldVectors(torch.tensor([[1.0], [2.0], [0.0]]))
    >>> arrays = {"images": torch.arange(2), "vectors": vectors, "y": torch.ones(1, 1)}
    >>> data = Dataset(set_ids=["user"], rows=torch.tensor([[0, 1]]), mask=torch.tensor([[True, True]]), **arrays)
    >>> adapter = Adapter("scaling", np.float32([[3]]), np.float32([1]), {}, 64, {}, {}, "")
    >>> adapted(data, adapter).batch(slice(None)).x.tolist()
    [[[4.0], [7.0]]]
    """
    return data.mapped(lambda vectors: torch.from_numpy(adapter.apply(vectors.numpy())))
