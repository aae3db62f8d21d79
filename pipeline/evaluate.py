"""Scores the test split, once a head."""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pipeline import batches, catalogue, files, runs, summary
from pipeline.embeddings import Embeddings
from pipeline.errors import StageError

if TYPE_CHECKING:
    from pipeline.params import EvaluateSettings


def evaluate(
    folder: Path,
    store_path: Path,
    sets_path: Path,
    labels_path: Path,
    metrics_path: Path,
    scores_path: Path,
    settings: "EvaluateSettings",
) -> None:
    """Writes a trained head's test figures (JSON), and the figures and scores of every set (Parquet).

    Raises:
        StageError, StoreError: when an earlier stage's result is missing, or belongs to another.
    """
    run, store = runs.load(folder), Embeddings(store_path)
    runs.require_identity(folder, run, store.identity)
    if catalogue.read_labels(labels_path)[0] != run.labels:
        raise StageError(f"{folder} was trained on other labels: train it again, or run dvc repro")
    data = batches.load(sets_path, labels_path, store, "test")
    scores = [batches.scores(runs.load_head(folder, run, result.seed), data) for result in run.seeds]
    thresholds = [result.threshold for result in run.seeds]
    figures = summary.summarise(scores, data.truth(), thresholds, settings)
    files.write_json(metrics_path, {**figures, "tuning": _tuning(run)})
    seeds = [result.seed for result in run.seeds]
    write_scores(scores_path, summary.per_set(data.set_ids, scores, data.truth(), seeds, settings.ks))


def write_scores(path: Path, frame: pl.DataFrame) -> None:
    """Writes what `summary.per_set` gives."""
    with files.write_aside(path) as aside:
        frame.write_parquet(aside, compression="zstd")


def _tuning(run: runs.Run) -> dict:
    """What tuning tried and chose, for the tables."""
    return {
        "validation_micro_ap": run.tuning,
        "learning_rate": run.learning_rate,
        "seeds": {str(result.seed): {"epoch": result.epoch, "micro_ap": result.micro_ap} for result in run.seeds},
    }
