"""A model that answers: what predict, and the check of an exported folder, need of either kind."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.embed.engines.engine import Engine
from pipeline.images import Crop

Heads = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Answer:
    """What a model says of some sets.

    Attributes:
        probabilities: float32 [b, c].
        weights: how much each photo speaks for each label, float32 [b, s, c]; over a set's photos they sum to 1.
    """

    probabilities: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Model:
    """A backbone and a head, ready to answer.

    Attributes:
        name: BACKBONE/HEAD.
        labels: c names.
        thresholds: float64 [c]; a label is predicted where its probability is at least that.
        simulated: whether it was trained on people who do not exist.
        crop: what the backbone takes of a photo.
        engine: pixels to vectors.
        head: vectors float32 [b, s, d] and mask bool [b, s] to the probabilities and weights of an Answer.
    """

    name: str
    labels: list[str]
    thresholds: np.ndarray
    simulated: bool
    crop: Crop
    engine: Engine
    head: Heads

    def answer(self, vectors: np.ndarray, mask: np.ndarray) -> Answer:
        """Sets of photos, vectors float32 [b, s, d] and mask bool [b, s], to what the model says of them."""
        return Answer(*self.head(vectors, mask))
