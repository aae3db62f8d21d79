"""The floor under every head: labels recommended by popularity alone, the same to everybody."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline import catalogue, files, metrics, scores, summary

if TYPE_CHECKING:
    from pipeline.params import EvaluateSettings


def evaluate_popularity(
    sets_path: Path, labels_path: Path, metrics_path: Path, scores_folder: Path, settings: "EvaluateSettings"
) -> None:
    """Writes the floor's test figures: every set gets the labels' frequencies among the training sets as its scores.

    Raises:
        StageError: when the sets are missing.
    """
    names = catalogue.read_labels(labels_path)[0]
    sets = catalogue.read_table(sets_path)
    truth = {split: _truth(sets.filter(pl.col("split") == split), len(names)) for split in catalogue.SPLITS.categories}
    frequency = truth["train"].mean(0)
    threshold = metrics.best_threshold(np.tile(frequency, (len(truth["validation"]), 1)), truth["validation"])
    same = np.tile(frequency, (len(truth["test"]), 1))
    figures = summary.figures([same], truth["test"], [threshold], [0], names, [], settings)
    scores.write(scores_folder, figures)
    files.write_json(metrics_path, summary.main_figures(figures))


def _truth(sets: pl.DataFrame, labels: int) -> np.ndarray:
    """Labels of some sets as bool [n, c]."""
    truth = np.zeros((len(sets), labels), bool)
    for position, own in enumerate(sets["labels"].to_list()):
        truth[position, own] = True
    return truth
