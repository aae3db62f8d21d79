"""A world without pictures: a project folder whose stores hold made-up vectors of images of a few kinds.

A set's labels are its images' kinds. Three backbones see the same images: `old`; `new`, whose vectors are a noisy
affine map of the old one's; and `noise`, whose vectors say nothing. Some images are shown by one split's users alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.catalogue import images, labelled_sets, tables
from pipeline.catalogue.labelled_sets import IMAGE_LABELS, Sets
from pipeline.core import provenance
from pipeline.embeddings.store import Embeddings
from pipeline.embeddings.writer import open_for_writing
from pipeline.evaluation import results
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.results import HeadResults
from pipeline.project import Project
from pipeline.settings.settings import Settings
from pipeline.training import checkpoint, dataset
from pipeline.training.checkpoint import TrainedHead
from pipeline.training.dataset import Dataset
from pipeline.training.stage import train
from tests.support.labelled import write_sets
from tests.support.settings import make_settings

KINDS, DIM, NEW_DIM, IMAGES = 4, 24, 30, 300
USERS = {"train": 120, "validation": 40, "test": 60}
SHOWN = {"train": (0, 220), "validation": (200, 260), "test": (220, IMAGES)}  # images that a split's users can show
TEST_ONLY = np.arange(260, IMAGES)  # images that no training and no validation user shows
FINGERPRINTS = {
    "old": {"dim": DIM, "weights": "old one's"},
    "new": {"dim": NEW_DIM, "weights": "new one's"},
    "noise": {"dim": NEW_DIM, "weights": "random"},
}
BACKBONES = {name: {"model": "made for a test", "weights": "none"} for name in FINGERPRINTS}
FAST = {
    "backbones": BACKBONES,
    "compare.backbones": ["old", "new"],
    "compare.heads": ["average", "max_fc", "noisy_or"],
    "ablation.backbone": "old",
    "ablation.heads": ["average"],
    "conditions.backbone": "old",
    "swap": {"old": ["new"]},
    "train.seeds": [0, 1],
    "train.learning_rates": [1e-2],
    "train.batch_size": 16,
    "train.cycles": [8],
    "train.patience": 8,
    "evaluate.ks": [2, 3],
    "evaluate.resamples": 100,
}


class World:
    """A project with vectors, sets and labels.

    Args:
        root: the project's folder.
        changes: of the settings, beside FAST.
        poison: whether vectors of images that only test users show are other ones.
        swap_test_labels: whether test users have wrong labels.
        constant: whether the old backbone's first number never varies.

    Attributes:
        project: its files.
        settings: FAST and the changes.
        digests: of the images.
        sets: the content of sets.parquet.
        labels: their names.
    """

    def __init__(
        self,
        root: Path,
        changes: dict[str, Any] | None = None,
        *,
        poison: bool = False,
        swap_test_labels: bool = False,
        constant: bool = False,
    ):
        self.project, self._changes = Project(root), {**FAST, **(changes or {})}
        self.settings = make_settings(self._changes)
        generator = np.random.default_rng(0)
        self._kind = generator.integers(0, KINDS, IMAGES)
        self.digests = np.stack([np.frombuffer(provenance.digest(b"%d" % i), np.uint8) for i in range(IMAGES)])
        for backbone, vectors in self._vectors(generator, poison=poison).items():
            path, fingerprint = self.project.store(backbone), FINGERPRINTS[backbone]
            if constant and backbone == "old":
                vectors[:, 0] = 0.7
            with open_for_writing(path, fingerprint, self.digests, parameters=1000) as store:
                store.write(np.arange(IMAGES), vectors)
        self.sets = self._sets(generator, swap_test_labels=swap_test_labels)
        self.labels = [f"kind {i}" for i in range(KINDS)]
        self.write_sets()

    def write_sets(self, frame: pl.DataFrame | None = None, labels: list[str] | None = None) -> None:
        """The world's sets and labels, or others, as `visagg sets` leaves them."""
        write_sets(
            self.project,
            frame=self.sets if frame is None else frame,
            labels=labels or self.labels,
            images_digest=provenance.digest_images(self.digests),
            image_labels=pl.DataFrame([(i, [kind]) for i, kind in enumerate(self._kind)], IMAGE_LABELS, orient="row"),
        )

    def labelled(self) -> Sets:
        """The sets as they are on the disk."""
        return labelled_sets.read_sets(self.project.sets, self.project.labels)

    def _vectors(self, generator: np.random.Generator, *, poison: bool) -> dict[str, np.ndarray]:
        """What each backbone makes of the images."""
        old = generator.normal(size=(KINDS, DIM))[self._kind] * 1.5 + generator.normal(size=(IMAGES, DIM)) + 3
        new = old @ generator.normal(size=(DIM, NEW_DIM)) / 4 + generator.normal(size=(IMAGES, NEW_DIM)) + 1
        noise = generator.normal(size=(IMAGES, NEW_DIM))
        if poison:
            old[TEST_ONLY], new[TEST_ONLY] = 9 - old[TEST_ONLY], 50.0
        return {"old": old, "new": new, "noise": noise}

    def _sets(self, generator: np.random.Generator, *, swap_test_labels: bool) -> pl.DataFrame:
        """Each user's one to five images, and the labels that they give."""
        rows = []
        for split, users in USERS.items():
            for _ in range(users):
                shown = generator.choice(np.arange(*SHOWN[split]), generator.integers(1, 6), replace=False)
                labels = set(self._kind[shown].tolist())
                if swap_test_labels and split == "test":
                    labels = {(label + 1) % KINDS for label in labels}
                rows.append((f"u{len(rows):03d}", sorted(shown.tolist()), sorted(labels), split))
        return pl.DataFrame(rows, schema=labelled_sets.SETS, orient="row")

    def write_catalogue(self) -> None:
        """The purchases that such sets come from: an item an image. Splits are the settings', not those of `sets`."""
        items = [(f"i{i:03d}", i, [[self.labels[kind]]], "") for i, kind in enumerate(self._kind.tolist())]
        bought = self.sets.select("set_id", "images").explode("images").iter_rows()
        purchases = [(user, f"i{image:03d}", time, None) for time, (user, image) in enumerate(bought)]
        write_catalogue(self.project, {"items": items, "purchases": purchases, "rejects": []}, IMAGES)

    def changed(self, changes: dict[str, Any]) -> Settings:
        """The world's settings with some values replaced."""
        return make_settings({**self._changes, **changes})

    def train(self, backbone: str, *heads: str, settings: Settings | None = None) -> None:
        """Trains some heads."""
        for head in heads:
            train(self.project, backbone, head, settings or self.settings)

    def checkpoint(self, backbone: str, head: str) -> Path:
        """The folder of a trained head, compared or not."""
        return self.project.checkpoint(backbone, head, compared=self._is_compared(head))

    def results(self, backbone: str, head: str) -> Path:
        """The folder of a head's results, compared or not."""
        return self.project.results(backbone, head, compared=self._is_compared(head))

    def trained(self, backbone: str, head: str) -> TrainedHead:
        """A head that was trained, compared or not."""
        return checkpoint.load(self.checkpoint(backbone, head))

    def evaluate(self, backbone: str, *heads: str, settings: Settings | None = None) -> pl.DataFrame:
        """Scores some heads; returns the metric values of the last."""
        evaluate(self.project, backbone, heads, settings or self.settings)
        return self.saved(backbone, heads[-1]).values()

    def saved(self, backbone: str, head: str) -> HeadResults:
        """A head's results, compared or not."""
        saved = results.read(self.results(backbone, head))
        assert saved is not None
        return saved

    def data(self, backbone: str, split: str) -> Dataset:
        """One split's sets with a backbone's vectors."""
        return dataset.load(self.labelled(), Embeddings(self.project.store(backbone)), split)

    def _is_compared(self, head: str) -> bool:
        return head in self.settings.compare.heads


def write_catalogue(project: Project, rows: dict[str, list[tuple]], count: int) -> None:
    """A catalogue's folder: rows of its tables, by name, and images that are no pictures, but have digests."""
    frames = {name: pl.DataFrame(rows[name], schema=tables.TABLES[name], orient="row") for name in tables.TABLES}
    with images.write_images(project.images) as writer:
        for number in range(count):
            writer.append(b"%d" % number, provenance.digest(b"%d" % number))
    tables.write_tables(project.catalogue, frames)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
