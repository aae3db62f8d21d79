"""A checkpoint: a trained head on the disk. The only module that knows its folder.

| file | content |
|---|---|
| checkpoint.json | spec, labels, the vectors' fingerprint, what tuning tried and chose; digests of the others |
| seed-N.safetensors | parameters and standardisation of one seed |
| history.csv | every epoch of every run that tuning made |
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.catalogue.labelled_sets import Sets
from pipeline.core import handover, provenance
from pipeline.core.errors import SettingsError, StageError, StoreError
from pipeline.core.files import write_aside
from pipeline.core.handover import Dim, Files, Hex
from pipeline.embeddings.store import Embeddings
from pipeline.heads.classifier import SetClassifier, build_head
from pipeline.heads.registry import parse
from pipeline.project import Project
from pipeline.training.dataset import Dataset, logits_of

RECORD, HISTORY = "checkpoint.json", "history.csv"
AGAIN = "train the head again"  # for messages
EPOCHS = pl.Schema(
    {
        "seed": pl.Int64(),
        "learning_rate": pl.Float64(),
        "dropout": pl.Float64(),
        "cycle": pl.Int64(),
        "epoch": pl.Int64(),
        "loss": pl.Float64(),
        "micro_ap": pl.Float64(),
    }
)
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]


@dataclass(frozen=True)
class SeedResult:
    """One seed of a trained head.

    Attributes:
        seed: of its parameters' start and of the order of its batches.
        epoch: the epoch whose parameters were kept, counted from 1.
        micro_ap: micro average precision on validation, at that epoch.
        threshold: of the probability, with the highest micro-F1 on validation.
    """

    seed: Count
    epoch: Count
    micro_ap: Share
    threshold: Share


@dataclass(frozen=True)
class Tried:
    """What the first seed reached with one learning rate, dropout and cycle (`tuning.Trial`).

    Attributes:
        learning_rate: the peak.
        dropout: share of the numbers that were left out.
        cycle: epochs of the schedule.
        epoch: the best one.
        micro_ap: of validation, at that epoch.
    """

    learning_rate: float
    dropout: Share
    cycle: Count
    epoch: Count
    micro_ap: Share


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a trained head beside its parameters.

    Attributes:
        spec: the head's parts, as HeadSpec has them.
        dim: d, numbers a vector.
        labels: names, in index order.
        sets_digest: of the sets it was trained on: others may test it on users that it has learnt.
        fingerprint: of the embeddings it was trained on.
        chosen: what validation chose: one of `tried`.
        tried: all that the first seed tried, in that order.
        seeds: one entry a seed, trained with what was chosen.
        files: digests of the other files.
    """

    spec: dict[str, Any]
    dim: Dim
    labels: Annotated[list[str], Field(max_length=1 << 16)]
    sets_digest: Hex
    fingerprint: dict[str, Any]
    chosen: Tried
    tried: Annotated[list[Tried], Field(min_length=1)]
    seeds: Annotated[list[SeedResult], Field(min_length=1)]
    files: Files = field(default_factory=dict)


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
            save_file(state, aside / _seed_file(result))
        exact = pl.col("learning_rate", "dropout").cast(pl.String)  # looked up; the other numbers are only shown
        history.select(*EPOCHS).with_columns(exact).write_csv(aside / HISTORY, float_precision=6)
        names = [HISTORY, *(_seed_file(result) for result in checkpoint.seeds)]
        handover.write_record_of(aside, RECORD, asdict(checkpoint), files=names)


def _seed_file(result: SeedResult) -> str:
    return f"seed-{result.seed}.safetensors"


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
        return [torch.sigmoid(values).numpy() for values in logits_of(self.heads, data)]

    def history(self) -> pl.DataFrame:
        """Every epoch of every run that tuning made: columns as in EPOCHS.

        Raises:
            StageError: when the file is missing or damaged.
        """
        path = self.folder / HISTORY
        handover.require_file(path, self.checkpoint.files.get(HISTORY, ""), again=AGAIN)
        try:
            frame = pl.read_csv(path, schema=EPOCHS)
        except (pl.exceptions.PolarsError, OSError) as error:
            handover.damaged(path, str(error).partition("\n")[0], again=AGAIN)
        handover.require_numbers(frame, path, again=AGAIN)
        return frame

    def require(self, store: Embeddings, sets: Sets) -> None:
        """Makes sure that the head gets the vectors it was trained on, and the sets whose training part it knows.

        Raises:
            StoreError: when the store's fingerprint is another, with the fields that differ.
            StageError: when the sets or their labels are others.
        """
        if lines := provenance.differences(store.fingerprint, self.checkpoint.fingerprint):
            raise StoreError(f"{self.folder} was trained on other embeddings ({'; '.join(lines)}): train it again")
        if self.checkpoint.labels != sets.labels or self.checkpoint.sets_digest != sets.digest:
            raise StageError(f"{self.folder} was trained on other sets or labels: train it again, or run dvc repro")


def read(folder: Path) -> Checkpoint:
    """What is known of a trained head, without its parameters; raises as `load`."""
    if not (folder / RECORD).exists() and not folder.is_dir():
        raise StageError(f"{folder} holds no trained head: run visagg train, or dvc repro")
    return handover.read_record(folder / RECORD, Checkpoint, again=AGAIN)


def load(folder: Path) -> TrainedHead:
    """Reads a trained head.

    Raises:
        StageError: when there is none, or it is damaged.
    """
    checkpoint = read(folder)
    return TrainedHead(folder, checkpoint, [_load_head(folder, checkpoint, result) for result in checkpoint.seeds])


def _load_head(folder: Path, checkpoint: Checkpoint, result: SeedResult) -> SetClassifier:
    """The head of one seed, in evaluation mode."""
    path = folder / _seed_file(result)
    handover.require_file(path, checkpoint.files.get(path.name, ""), again=AGAIN)
    try:
        head = build_head(parse(checkpoint.spec), checkpoint.dim, len(checkpoint.labels))
        state = load_file(path)
        head.load_state_dict(state)
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError, SettingsError) as error:
        handover.damaged(path, str(error), again=AGAIN)
    if not all(tensor.isfinite().all() for tensor in state.values()):
        handover.damaged(path, "a number in it is not finite", again=AGAIN)
    return head.eval()


def load_trained(project: Project, backbone: str, heads: Iterable[str]) -> dict[str, TrainedHead]:
    """Those of some compared heads of a backbone that are trained, by name in order; the others may be missing.

    Raises:
        StageError: when one is damaged.
    """
    folders = {head: project.checkpoint(backbone, head) for head in sorted(heads)}
    return {head: load(folder) for head, folder in folders.items() if handover.exists(folder)}
