"""What the heads are held against: made from each image's true labels, which no head sees."""

import numpy as np
import polars as pl
import pytest
import torch

from pipeline.evaluation import references, results
from pipeline.evaluation.references import evaluate_references, nearest, single_images
from pipeline.training.dataset import Dataset
from pipeline.training.vectors import HeldVectors
from tests.support.world import SHOWN, World


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    evaluate_references(made.project, "old", made.settings)
    return made


def value(world, name, metric="micro_ap"):
    frame = results.read(world.project.references("old") / name).values()
    return frame.filter(by="all", metric=metric)["value"].mean()


def test_true_image_labels_teach_at_least_what_sets_teach(world):
    world.train("old", "noisy_or")
    head = world.evaluate("old", "noisy_or").filter(by="all", metric="micro_ap")["value"].mean()
    assert value(world, "image_classifier") > head - 0.01
    assert value(world, "image_classifier") > 0.95
    assert head - 0.1 < value(world, "nearest_images") <= value(world, "image_classifier")


def test_they_learn_from_the_images_of_training_sets_alone(world, monkeypatch):
    seen = []

    def remember(sets, classes, store, **options):
        seen.append(sets)
        return gather(sets, classes, store, **options)

    gather = references.dataset.gather
    monkeypatch.setattr(references.dataset, "gather", remember)
    evaluate_references(world.project, "old", world.settings)
    (images,) = [sets for sets in seen if sets["images"].list.len().max() == 1]
    shown = world.sets.filter(split="train")["images"].explode().unique().sort()
    assert images["images"].explode().to_list() == shown.to_list()
    assert max(shown) < SHOWN["train"][1]


def test_the_same_seeds_give_the_same_bytes(world):
    folder = world.project.references("old")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    evaluate_references(world.project, "old", world.settings)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_image_has_the_labels_of_its_nearest_and_a_set_what_any_image_has():
    def dataset(vectors, rows, y):
        rows = torch.tensor(rows)
        vectors = torch.tensor([*vectors, [0.0, 0.0]])
        padding = len(vectors) - 1
        held = HeldVectors(vectors)
        return Dataset(set_ids=[], images=torch.arange(padding), vectors=held, rows=rows, mask=rows < padding, y=y)

    known = dataset([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]], [[0], [1], [2], [3]], torch.eye(4))
    asked = dataset([[2.0, 1.5], [3.0, 2.5], [3.0, -2.5]], [[0, 1], [2, 3]], torch.zeros(2, 4))
    assert nearest(known, asked, [1, 2])[1].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    halves = nearest(known, asked, [1, 2])[2]
    assert halves[0].max() == pytest.approx(0.75), "two images with a chance of a half each"
    assert np.isclose(halves[1], 0.5).sum() == 2, "padding adds nothing"


def test_an_image_without_a_label_teaches_that_there_is_none():
    sets = pl.DataFrame({"images": [[2, 0], [0]]}, schema_overrides={"images": pl.List(pl.UInt32)})
    shown = pl.DataFrame({"image": [2, 5], "labels": [[1], [0]]}, schema_overrides={"image": pl.UInt32})
    assert single_images(sets, shown).select("set_id", "images", "labels").rows() == [("0", [0], []), ("2", [2], [1])]
