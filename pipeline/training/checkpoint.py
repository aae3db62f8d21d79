"""A checkpoint: a trained head on the disk. The only module that knows its folder.

| file | content |
|---|---|
| checkpoint.json | the head's spec, its labels, the fingerprint of the vectors it reads, what tuning tried and chose |
| seed-N.safetensors | parameters and standardisation of one seed |
| history.csv | every epoch of every run that tuning made |
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.core import provenance
from pipeline.core.errors import SettingsError, StageError, StoreError
from pipeline.core.files import write_aside, write_json
from pipeline.embeddings.store import Embeddings
from pipeline.heads.classifier import SetClassifier, build_head
from pipeline.heads.registry import parse
from pipeline.project import Project
from pipeline.training.dataset import Dataset, scores


@dataclass(frozen=True)
class SeedResult:
    """One seed of a trained head.

    Attributes:
        seed: of its parameters' start and of the order of its batches.
        epoch: the epoch whose parameters were kept, counted from 1.
        micro_ap: micro average precision on validation, at that epoch.
        threshold: of the probability, with the highest micro-F1 on validation.
    """

    seed: int
    epoch: int
    micro_ap: float
    threshold: float


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a trained head beside its parameters.

    Attributes:
        spec: the head's parts, as HeadSpec has them.
        dim: d, numbers a vector.
        labels: names, in index order.
        fingerprint: of the embeddings it was trained on.
        learning_rate: the peak rate that validation chose.
        tuning: validation micro average precision of the first seed, by learning rate.
        seeds: one entry a seed, at the chosen learning rate.
    """

    spec: dict
    dim: int
    labels: list[str]
    fingerprint: dict
    learning_rate: float
    tuning: dict[str, float]
    seeds: list[SeedResult]


def save(folder: Path, checkpoint: Checkpoint, states: list[dict[str, Tensor]], *, history: pl.DataFrame) -> None:
    """Writes a trained head; the folder appears whole or not at all.

    Args:
        folder: which one.
        checkpoint: what is known of the head.
        states: parameters and buffers by name, one state a seed.
        history: every epoch, as `Tuned.history` has them.
    """
    with write_aside(folder) as aside:
        aside.mkdir()
        for result, state in zip(checkpoint.seeds, states, strict=True):
            save_file(state, aside / f"seed-{result.seed}.safetensors")
        exact = pl.col("learning_rate").cast(pl.String)  # it is looked up; the other numbers are only shown
        history.with_columns(exact).write_csv(aside / "history.csv", float_precision=6)
        write_json(aside / "checkpoint.json", asdict(checkpoint))


@dataclass(frozen=True)
class TrainedHead:
    """A head as it was trained.

    Attributes:
        folder: where it lies.
        checkpoint: what is known of it.
        heads: the head of each seed, in evaluation mode.
    """

    folder: Path
    checkpoint: Checkpoint
    heads: list[SetClassifier]

    @property
    def thresholds(self) -> list[float]:
        """One a seed, from validation."""
        return [result.threshold for result in self.checkpoint.seeds]

    @property
    def seeds(self) -> list[int]:
        """Which seeds there are."""
        return [result.seed for result in self.checkpoint.seeds]

    def scores(self, data: Dataset) -> list[np.ndarray]:
        """Probabilities by each seed: float32 [n, c] each."""
        return [scores(head, data) for head in self.heads]

    def history(self) -> pl.DataFrame:
        """Every epoch of every run that tuning made.

        Raises:
            StageError: when the file is missing or damaged.
        """
        try:
            return pl.read_csv(self.folder / "history.csv")
        except (OSError, pl.exceptions.PolarsError):
            raise _damaged(self.folder) from None

    def require(self, store: Embeddings, labels: list[str]) -> None:
        """Makes sure that the head gets the vectors it was trained on, and that its labels are those of the sets.

        Raises:
            StoreError: when the store's fingerprint is another, with the fields that differ.
            StageError: when the labels are others.
        """
        if lines := provenance.differences(store.fingerprint, self.checkpoint.fingerprint):
            raise StoreError(f"{self.folder} was trained on other embeddings ({'; '.join(lines)}): train it again")
        if self.checkpoint.labels != labels:
            raise StageError(f"{self.folder} was trained on other labels: train it again, or run dvc repro")


def load(folder: Path) -> TrainedHead:
    """Reads a trained head.

    Raises:
        StageError: when there is none, or it is damaged.
    """
    try:
        content = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
        checkpoint = Checkpoint(**{**content, "seeds": [SeedResult(**seed) for seed in content["seeds"]]})
        return TrainedHead(folder, checkpoint, [_load_head(folder, checkpoint, result) for result in checkpoint.seeds])
    except FileNotFoundError:
        raise StageError(f"{folder} holds no trained head: run visagg train, or dvc repro") from None
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, SettingsError):
        raise _damaged(folder) from None


def _load_head(folder: Path, checkpoint: Checkpoint, result: SeedResult) -> SetClassifier:
    """The head of one seed, in evaluation mode."""
    head = build_head(parse(checkpoint.spec), checkpoint.dim, len(checkpoint.labels))
    head.load_state_dict(load_file(folder / f"seed-{result.seed}.safetensors"))
    return head.eval()


def _damaged(folder: Path) -> StageError:
    return StageError(f"{folder} is damaged: delete it and train the head again")


def load_trained(project: Project, backbone: str, heads: Iterable[str]) -> dict[str, TrainedHead]:
    """Those of some compared heads of a backbone that are trained, by name in order; the others may be missing.

    Raises:
        StageError: when one is damaged.
    """
    folders = {head: project.checkpoint(backbone, head) for head in sorted(heads)}
    return {head: load(folder) for head, folder in folders.items() if folder.is_dir()}
