"""Scores the test split, once a head."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from pipeline import batches, catalogue, files, runs, scores, summary
from pipeline.batches import SetData
from pipeline.embeddings import Embeddings
from pipeline.errors import StageError
from pipeline.progress import Progress

if TYPE_CHECKING:
    from pipeline.heads.classifier import SetClassifier
    from pipeline.params import EvaluateSettings


def evaluate(
    folders: list[Path],
    store_path: Path,
    sets_path: Path,
    labels_path: Path,
    metrics_folder: Path,
    scores_folder: Path,
    settings: "EvaluateSettings",
) -> None:
    """Writes the test figures of some heads that were trained on one backbone's vectors.

    Args:
        folders: of the trained heads; each one's name is that of its results.
        store_path: the vectors.
        sets_path: the sets.
        labels_path: the labels.
        metrics_folder: gets a head's main figures as JSON, for `dvc metrics`.
        scores_folder: gets a folder for each head.
        settings: which k, and how many resamples.

    Raises:
        StageError, StoreError: when an earlier stage's result is missing, or belongs to another.
    """
    trained = [runs.load(folder) for folder in folders]
    store = Embeddings(store_path)
    for folder, run in zip(folders, trained):
        runs.require_identity(folder, run, store.identity)
        if catalogue.read_labels(labels_path)[0] != run.labels:
            raise StageError(f"{folder} was trained on other labels: train it again, or run dvc repro")
    data = batches.load(sets_path, labels_path, store, "test")
    parts = _segments(catalogue.read_table(sets_path), data)
    with Progress("evaluate", len(folders), "heads") as progress:
        for folder, run in zip(folders, trained):
            figures = _evaluate(folder, run, data, parts, scores_folder / folder.name, settings)
            files.write_json(metrics_folder / f"{folder.name}.json", summary.main_figures(figures))
            progress.add()


def _evaluate(
    folder: Path,
    run: runs.Run,
    data: SetData,
    parts: list[summary.Segment],
    path: Path,
    settings: "EvaluateSettings",
) -> pl.DataFrame:
    """Scores one head and writes its files; answers with its figures."""
    heads = [runs.load_head(folder, run, result.seed) for result in run.seeds]
    probabilities = [batches.scores(head, data) for head in heads]
    thresholds, seeds = [result.threshold for result in run.seeds], [result.seed for result in run.seeds]
    figures = summary.figures(probabilities, data.truth(), thresholds, seeds, run.labels, parts, settings)
    shown = _shown(data, heads[0])
    frames = [
        pl.concat([shown, summary.per_set(own, data.truth(), threshold, seed, settings.ks)], how="horizontal")
        for own, threshold, seed in zip(probabilities, thresholds, seeds)
    ]
    scores.write(path, figures, pl.concat(frames), _training(folder, run))
    return figures


def _shown(data: SetData, head: "SetClassifier") -> pl.DataFrame:
    """Each set's images, as rows of the store, and how much each counted for the head."""
    weights = []
    with torch.inference_mode():
        for batch in data.batches(batches.SCORING_BATCH):
            weights.append(head.importance(batch.x, batch.mask).numpy())
    weights, mask, images = np.concatenate(weights), data.mask.numpy(), data.images.numpy()
    return pl.DataFrame(
        {
            "set_id": data.set_ids,
            "images": pl.Series(
                [images[rows[own]].tolist() for rows, own in zip(data.rows.numpy(), mask)], dtype=pl.List(pl.UInt32)
            ),
            "importance": pl.Series([row[own].tolist() for row, own in zip(weights, mask)], dtype=pl.List(pl.Float32)),
        }
    )


def _training(folder: Path, run: runs.Run) -> dict:
    """What tuning tried and chose, for the tables and the curves."""
    epochs = pl.read_csv(folder / "history.csv").filter(pl.col("learning_rate") == run.learning_rate)
    return {
        "validation_micro_ap": run.tuning,
        "learning_rate": run.learning_rate,
        "seeds": [asdict(result) for result in run.seeds],
        "epochs": json.loads(epochs.drop("learning_rate").write_json()),
    }


def _segments(sets: pl.DataFrame, data: SetData) -> list[summary.Segment]:
    """The parts of the test sets that have figures of their own."""
    trained = sets.filter(pl.col("split") == "train")
    seen = trained["images"].explode().unique().to_numpy()
    frequency = np.bincount(trained["labels"].explode().to_numpy(), minlength=data.y.shape[1])
    mask = data.mask.numpy()
    unseen = np.append(~np.isin(data.images.numpy(), seen), False)[data.rows.numpy()] & mask
    return summary.segments(mask.sum(1), unseen.sum(1) / mask.sum(1), data.truth(), frequency)
