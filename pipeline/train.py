"""Stage two: fits a head on cached vectors and saves it."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import batches, catalogue, runs
from pipeline.embeddings import Embeddings
from pipeline.heads import HeadSpec
from pipeline.tuning import tune

if TYPE_CHECKING:
    from pipeline.params import TrainSettings


def train(
    spec: HeadSpec, store_path: Path, sets_path: Path, labels_path: Path, folder: Path, settings: "TrainSettings"
) -> None:
    """Trains a head, one run a seed at the learning rate that the first seed chooses, and saves it.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged.
    """
    store = Embeddings(store_path)
    data, validation = (batches.load(sets_path, labels_path, store, split) for split in ("train", "validation"))
    tuned = tune(spec, data, validation, settings)
    run = runs.Run(
        spec=spec.model_dump(),
        dim=store.width,
        labels=catalogue.read_labels(labels_path)[0],
        identity=store.identity,
        learning_rate=tuned.fits[0].learning_rate,
        tuning={f"{fit.learning_rate:g}": round(fit.micro_ap, 6) for fit in tuned.tried},
        seeds=[runs.SeedResult(fit.seed, fit.epoch, round(fit.micro_ap, 6), fit.threshold) for fit in tuned.fits],
    )
    runs.save(folder, run, [fit.head.state_dict() for fit in tuned.fits], tuned.history())
