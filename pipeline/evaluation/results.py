"""What a head did on the test sets, on the disk: the only module that knows its folder. Needs no torch.

| file | content |
|---|---|
| results.json | which sets were scored, and how the head was trained; digests of the others |
| values.parquet | every metric value of each seed, and on each resample of the users (`metrics.schema.SCHEMA`) |
| sets.parquet | a row a seed and set: its images, their importance to the first seed, metrics at k, labels predicted |

Popularity, which was never trained and scores all sets alike, has no training and no sets.parquet.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from typing_extensions import TypedDict

from pipeline.core import files, handover
from pipeline.core.errors import StageError
from pipeline.core.handover import Files, Hex
from pipeline.metrics.schema import SCHEMA

RECORD, VALUES, SETS = "results.json", "values.parquet", "sets.parquet"
AGAIN = "run visagg evaluate"  # for messages: what makes most of them anew
SET_SCHEMA = {  # and a column a metric at k
    "set_id": pl.String(),
    "images": pl.List(pl.UInt32),
    "importance": pl.List(pl.Float32),
    "seed": pl.Int64(),
    "predicted": pl.List(pl.UInt16),
    "best": pl.List(pl.UInt16),
    "best_scores": pl.List(pl.Float32),
}


class SeedRecord(TypedDict):
    """One seed of a head, as its checkpoint has it."""

    seed: int
    epoch: int
    micro_ap: float
    threshold: float


class CalibrationRecord(TypedDict):
    """What one seed's logits are multiplied by, and what is then added."""

    slope: float
    offset: float


class EpochRecord(TypedDict):
    """One epoch of a run that was kept."""

    seed: int
    epoch: int
    loss: float
    micro_ap: float


class TriedRecord(TypedDict):
    """What validation said of one learning rate, dropout and cycle, as the checkpoint has it."""

    learning_rate: float
    dropout: float
    cycle: int
    epoch: int
    micro_ap: float


class TrainingRecord(TypedDict):
    """How a head was trained: its parameters, what tuning tried and chose, every epoch of the runs that were kept.

    Seeds and calibrations are in the same order.
    """

    parameters: int
    chosen: TriedRecord
    tried: list[TriedRecord]
    seeds: list[SeedRecord]
    calibrations: list[CalibrationRecord]
    epochs: list[EpochRecord]


class ResultRecord(TypedDict):
    """What results.json holds."""

    sets_digest: Hex
    resamples: int
    training: TrainingRecord | None
    files: Files


@dataclass(frozen=True)
class HeadResults:
    """A head's results, opened.

    Attributes:
        folder: where they lie.
        record: what belongs to them.
        again: what makes them anew, for messages.
    """

    folder: Path
    record: ResultRecord
    again: str

    @property
    def training(self) -> TrainingRecord | None:
        """How the head was trained; None for popularity."""
        return self.record["training"]

    def values(self) -> pl.DataFrame:
        """The metric values: a frame of SCHEMA.

        Raises:
            StageError: when the file is missing or damaged.
        """
        return self._table(VALUES, SCHEMA, nullable=("k",))

    def sets(self) -> pl.DataFrame:
        """The results set by set; raises as `values`."""
        return self._table(SETS, SET_SCHEMA)

    def require(self, sets_digest: str) -> None:
        """Makes sure that they are of the sets that are there now.

        Raises:
            StageError: when they are of others.
        """
        if self.record["sets_digest"] != sets_digest:
            raise StageError(f"{self.folder} is of other sets: {self.again}, or dvc repro")

    def _table(self, name: str, schema: dict, *, nullable: tuple[str, ...] = ()) -> pl.DataFrame:
        digest = self.record["files"].get(name, "")
        return handover.read_frame(self.folder / name, schema, digest=digest, again=self.again, nullable=nullable)


def write(
    folder: Path,
    values: pl.DataFrame,
    *,
    sets_digest: str,
    sets: pl.DataFrame | None = None,
    training: dict | None = None,
) -> None:
    """Writes a head's results; the folder appears whole or not at all.

    Args:
        folder: which one.
        values: the metric values, a frame of SCHEMA.
        sets_digest: of the sets that were scored.
        sets: the results set by set; None for popularity, which scores every set alike.
        training: how the head was trained; None likewise.

    Raises:
        StageError: when a number is not finite.
    """
    tables = {VALUES: values, **({} if sets is None else {SETS: sets})}
    with files.write_aside(folder) as aside:
        aside.mkdir()
        for name, frame in tables.items():
            handover.require_numbers(frame, folder / name, again="train the head again", nullable=("k",))
            frame.write_parquet(aside / name, compression="zstd")
        resamples = values["samples"].list.len().max() or 0
        content = {"sets_digest": sets_digest, "resamples": resamples, "training": training}
        handover.write_record_of(aside, RECORD, content, files=tables)


def read(folder: Path, *, again: str = AGAIN) -> HeadResults | None:
    """Opens a head's results; None where it has not been evaluated.

    Args:
        folder: where they lie.
        again: what makes them anew, for messages.

    Raises:
        StageError: when they are damaged.
    """
    if not handover.exists(folder):
        return None
    return HeadResults(folder, handover.read_record(folder / RECORD, ResultRecord, again=again), again)
