"""The stage: the floor under every head, labels recommended by popularity alone."""

from typing import TYPE_CHECKING

from pipeline.catalogue.labelled_sets import label_matrix, read_sets
from pipeline.core.lock import hold
from pipeline.evaluation import results
from pipeline.evaluation.baseline import Popularity
from pipeline.evaluation.overview import overview
from pipeline.metrics.measure import Predictions, Protocol, main_values, measure
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


def evaluate_popularity(project: Project, settings: "Settings") -> str:
    """Writes popularity's metric values on the test sets.

    Returns:
        The main ones, and where all are, for people.

    Raises:
        StageError: when the sets or the labels are missing or damaged.
    """
    with hold(project.popularity):
        sets = read_sets(project.sets, project.labels)
        classes = len(sets.labels)
        popularity = Popularity.of(sets.frame, classes)
        truth = label_matrix(sets.split("test"), classes)
        predictions = Predictions(popularity.scores(len(truth)), truth, popularity.threshold)
        protocol = Protocol(labels=sets.labels, ks=settings.evaluate.ks, resamples=settings.evaluate.resamples)
        values = measure([predictions], [0], protocol)
        results.write(project.popularity, values, sets_digest=sets.digest)
    return overview([("popularity", main_values(values), project.popularity)])
