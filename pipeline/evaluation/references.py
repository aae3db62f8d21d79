"""The stage: what the heads are held against beside popularity, made from what no head sees: each image's true labels.

- image_classifier: the instance classifier of noisy_or, trained on single images with their own labels, by the same
  tuning as a head; a set's label is there unless every image lacks it. What perfect supervision of each image gives.
- nearest_images: each image has the labels of its nearest training images, by cosine of standardised vectors; how many
  neighbours, validation says. Pooled as above. What the vectors give without any training.

A head that reaches the first has nothing to gain from better supervision: what is left is in the features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from pipeline.catalogue.labelled_sets import read_image_labels, read_sets
from pipeline.core.failure import keeping
from pipeline.core.files import write_aside
from pipeline.core.lock import hold
from pipeline.embeddings.store import Embeddings
from pipeline.evaluation import results
from pipeline.evaluation.evaluate import TestSplit
from pipeline.evaluation.overview import overview
from pipeline.heads.presets import IMAGE_CLASSIFIER, NEAREST_IMAGES, REFERENCES
from pipeline.metrics.measure import Predictions, main_values, measure
from pipeline.metrics.selection import best_threshold, micro_ap
from pipeline.project import Project
from pipeline.training import dataset
from pipeline.training.dataset import Dataset
from pipeline.training.fit import Data
from pipeline.training.kept_runs import NOT_KEPT, KeptRuns
from pipeline.training.tuning import tune

if TYPE_CHECKING:
    from pipeline.settings.sections import TrainSettings
    from pipeline.settings.settings import Settings

NEIGHBOURS = (1, 2, 5, 10, 20, 50)  # tried
MOST_KNOWN = 20_000  # training images among which the nearest are looked for, evenly chosen: all would take the
# square of a catalogue's time


def evaluate_references(project: Project, backbone: str, settings: "Settings") -> str:
    """Writes the references' metric values on the test sets, a folder each.

    Returns:
        Their main metric values, and where all are, for people.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged.
    """
    kept = KeptRuns(project.unfinished("references", backbone))
    with hold(project.references(backbone)), keeping(kept.said):
        store, sets = Embeddings(project.store(backbone)), read_sets(project.sets, project.labels)
        shown = read_image_labels(project.image_labels, project.labels)
        validation = dataset.load(sets, store, "validation")
        test = TestSplit.load(project, store, settings.evaluate)
        images = dataset.gather(single_images(sets.split("train"), shown), len(sets.labels), store, name="training")
        predictions = {
            IMAGE_CLASSIFIER: classify(Data(images, validation), test.data, settings.train, kept=kept),
            NEAREST_IMAGES: look_up(Data(images, validation), test.data),
        }
        rows = []
        with write_aside(project.references(backbone)) as aside:
            aside.mkdir()
            for name, of_seeds in predictions.items():
                values = measure(of_seeds, settings.train.seeds[: len(of_seeds)], test.protocol)
                results.write(aside / name, values, sets_digest=sets.digest)
                rows.append((f"{backbone} {name}", main_values(values), project.references(backbone) / name))
        kept.clear()
    return overview(rows)


def single_images(sets: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Sets of one image each, with its own labels, of all images that some sets show.

    Args:
        sets: columns of sets.parquet.
        shown: image, labels: what each image shows by itself.

    Returns:
        The columns of sets.parquet; labels may be empty.

    >>> sets = pl.DataFrame({"images": [[3, 1], [3]], "split": ["train", "train"]})
    >>> shown = pl.DataFrame({"image": [0, 3], "labels": [[0], [1, 2]]}, schema_overrides={"image": pl.UInt32})
    >>> single_images(sets, shown).select("images", "labels").rows()
    [([1], []), ([3], [1, 2])]
    """
    images = sets.select(image=pl.col("images").explode().cast(pl.UInt32).unique().sort())
    return images.join(shown, on="image", how="left", maintain_order="left").select(
        set_id=pl.col("image").cast(pl.String),
        images=pl.concat_list("image"),
        labels=pl.col("labels").fill_null([]),
        split=pl.lit("train"),
    )


def classify(data: Data, test: Dataset, settings: "TrainSettings", *, kept: KeptRuns = NOT_KEPT) -> list[Predictions]:
    """What the image classifier says of the test sets, a seed each; `data.train` are single images."""
    tuned = tune(REFERENCES[IMAGE_CLASSIFIER], data, settings, name=IMAGE_CLASSIFIER, kept=kept)
    return [Predictions(dataset.scores(run.head, test), test.truth(), run.threshold) for run in tuned.kept]


def look_up(data: Data, test: Dataset) -> list[Predictions]:
    """What the nearest training images say of the test sets, with the number of neighbours that validation prefers."""
    truth, once = data.validation.truth(), np.ones((1, len(data.validation)), np.float32)
    tried = nearest(data.train, data.validation, [k for k in NEIGHBOURS if k <= min(len(data.train), MOST_KNOWN)])
    best = max(tried, key=lambda k: micro_ap(tried[k], truth, once)[0])
    threshold = best_threshold(tried[best], truth)
    return [Predictions(nearest(data.train, test, [best])[best], test.truth(), threshold)]


def nearest(images: Dataset, sets: Dataset, ks: Sequence[int]) -> dict[int, np.ndarray]:
    """Probabilities by the k nearest of some single images, for several k: float32 [n, c] each.

    An image's probability of a label is the share of its k neighbours that show it; of equally near ones the first
    count. A set has a label unless every image lacks it.
    """
    from sklearn.neighbors import NearestNeighbors

    mean, std = images.moments
    images, sets = images.standardised(mean, std), sets.standardised(mean, std)
    known = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_KNOWN)).round().astype(np.int64))
    finder = NearestNeighbors(n_neighbors=max(ks), algorithm="brute", metric="cosine")
    finder.fit(images.vectors.take(torch.from_numpy(known)).numpy())
    shown, m = images.truth()[known], len(sets.vectors)
    lacking = {k: np.ones((m + 1, shown.shape[1]), np.float32) for k in ks}  # padding, the last, lacks every label
    first = 0
    for block in sets.vectors.blocks():
        neighbours = finder.kneighbors(block.numpy(), return_distance=False)
        for k in ks:
            lacking[k][first : first + len(block)] = 1 - shown[neighbours[:, :k]].mean(1)
        first += len(block)
    mask, rows = sets.mask.numpy()[..., None], sets.rows.numpy()
    return {k: 1 - np.where(mask, of_images[rows], 1.0).prod(1) for k, of_images in lacking.items()}
