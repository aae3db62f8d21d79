"""An exported model against the model that it was made of, on real images of the catalogue."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import numpy as np

from pipeline.catalogue.images import Images
from pipeline.catalogue.labelled_sets import read_sets
from pipeline.core.errors import StageError
from pipeline.core.progress import Progress
from pipeline.embeddings.store import Embeddings
from pipeline.export.predict.model import Answer, Model
from pipeline.export.predict.photos import Photo
from pipeline.export.predict.reading import read_photos
from pipeline.export.predict.trained import TrainedModel
from pipeline.project import Project
from pipeline.training import dataset
from pipeline.training.dataset import Dataset

MOST_SETS = 100
TOLERANCE = 1e-3  # of a probability
WEIGHT_TOLERANCE = 1e-2  # of a photo's weight, which is only shown,
LEAST = 0.01  # and of labels that are at least so probable: of others, what speaks for them is hardly anything


@dataclass(frozen=True)
class Checked:
    """What a comparison showed.

    Attributes:
        sets: how many were compared.
        images: how many distinct images they have.
        difference: the largest of two probabilities.
    """

    sets: int
    images: int
    difference: float


def check(project: Project, store: Path, exported: Model, *, trained: TrainedModel) -> Checked:
    """Compares an exported model with the trained one on test users' images.

    The trained model reads the store, as evaluate does; the exported one reads the images themselves.

    Args:
        project: whose sets and images.
        store: the vectors that the head reads.
        exported: what was written, opened.
        trained: what it was made of.

    Raises:
        StageError: when a probability, a decision or a photo's weight differs; with the largest difference.
    """
    sets = read_sets(project.sets, project.labels)
    test = sets.split("test").head(MOST_SETS)
    data = dataset.gather(test, len(sets.labels), Embeddings(store), name="the test split")
    expected = _answer_trained(trained, data)
    actual = exported.answer(_vectors(project, exported, data)[data.rows.numpy()], data.mask.numpy())
    thresholds = exported.thresholds
    difference = float(np.abs(actual.probabilities - expected.probabilities).max())
    flipped = (actual.probabilities >= thresholds) != (expected.probabilities >= thresholds)
    shown = (expected.probabilities >= LEAST)[:, None]
    weights = float(np.abs((actual.weights - expected.weights) * shown).max())
    if not difference <= TOLERANCE or flipped.any() or not weights <= WEIGHT_TOLERANCE:
        raise StageError(
            f"exported for {exported.engine.name} it differs from {trained.name}: probabilities by {difference:.1e}, "
            f"{flipped.sum()} of {flipped.size} decisions, weights by {weights:.1e}: nothing was left; "
            "export it with --float32"
        )
    return Checked(len(data), len(data.images), difference)


def _answer_trained(trained: TrainedModel, data: Dataset) -> Answer:
    return Answer(*trained.answer(data.batch(slice(None)).x.numpy(), data.mask.numpy()))


def _vectors(project: Project, model: Model, data: Dataset) -> np.ndarray:
    """The images' vectors by the exported backbone: float32 [m + 1, d], zeros in the last row."""
    images = Images(project.images)
    photos = (Photo(str(row), (str(row),), partial(images.read, row)) for row in data.images.tolist())
    vectors = []
    with Progress("export: check", len(data.images), "images") as progress:
        for read in read_photos(photos, model, joblib.cpu_count()):
            if read.vector is None:
                raise StageError(f"image {read.photo.name} has a vector in the store, and now: {read.reason}")
            vectors.append(read.vector)
            progress.add()
    return np.stack([*vectors, np.zeros_like(vectors[0])])
