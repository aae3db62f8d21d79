"""The stage: the floor under every head, labels recommended by popularity alone."""

from typing import TYPE_CHECKING

import polars as pl

from pipeline import catalogue
from pipeline.evaluation import results
from pipeline.evaluation.baseline import Popularity
from pipeline.metrics.measure import Predictions, Protocol, measure
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings import Settings


def evaluate_popularity(project: Project, settings: "Settings") -> None:
    """Writes popularity's metric values on the test sets.

    Raises:
        StageError: when the sets or the labels are missing or damaged.
    """
    labels, _ = catalogue.read_labels(project.labels)
    sets = catalogue.read_table(project.sets)
    popularity = Popularity.of(sets, len(labels))
    truth = catalogue.label_matrix(sets.filter(pl.col("split") == "test"), len(labels))
    predictions = Predictions(popularity.scores(len(truth)), truth, popularity.threshold)
    protocol = Protocol(labels=labels, ks=settings.evaluate.ks, resamples=settings.evaluate.resamples)
    results.write(project.popularity, measure([predictions], [0], protocol))
