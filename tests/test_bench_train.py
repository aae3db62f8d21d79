"""The comparison of training speeds: both ways train on the same sets, and what is counted is what was trained."""

import json

import numpy as np
import pytest
import torch

from pipeline import embeddings
from pipeline.bench import training
from pipeline.heads import resolve
from tests.test_train import FAST, World


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_the_plain_loop_reads_what_the_other_holds(world):
    sets = training._load(world.store, world.sets, world.labels)
    rows = training.RowsFromFile(sets.store, sets.rows, sets.train.y)
    assert len(rows) == len(sets.train) == 180
    x, mask, y = training._collate([rows[index] for index in range(20)])
    batch = sets.train.batch(torch.arange(20))
    assert torch.equal(mask, batch.mask[:, : mask.shape[1]]) and torch.equal(y, batch.y)
    for own, other, shown in zip(x, batch.x, mask):
        mine, theirs = (np.sort(vectors[: shown.sum()].numpy(), 0) for vectors in (own, other))
        np.testing.assert_array_equal(mine, theirs)


def test_sets_are_counted_once_a_run(world, monkeypatch):
    sets = training._load(world.store, world.sets, world.labels)
    monkeypatch.setattr(training, "_rate", lambda work: work())
    runs = len(FAST.learning_rates) + len(FAST.seeds) - 1
    assert training._plain(resolve("average"), sets, FAST) == 180
    assert training._ours(resolve("average"), sets, FAST) == 180 * runs


def test_the_figures_are_medians_over_the_rounds(monkeypatch, world):
    plain, ours = iter([10.0, 20.0, 15.0]), iter([100.0, 100.0, 300.0])
    monkeypatch.setattr(training, "_plain", lambda *_: next(plain))
    monkeypatch.setattr(training, "_ours", lambda *_: next(ours))
    found = training.measure_training({"a": resolve("average")}, world.store, world.sets, world.labels, FAST, 3)
    assert found["sets"] == 180 and found["machine"]["cores"] >= 1
    assert found["heads"] == [
        {"name": "a", "plain": 15.0, "visagg": 100.0, "ratio": 6.67, "ratio_low": 5.0, "ratio_high": 20.0}
    ]
    assert "6.7 [5.0, 20.0]" in training.table(found)


def test_both_ways_for_real(world):
    specs = {name: resolve(name) for name in ("average", "noisy_or")}
    found = training.measure_training(specs, world.store, world.sets, world.labels, FAST, 1)
    assert [row["name"] for row in json.loads(json.dumps(found))["heads"]] == ["average", "noisy_or"]
    assert all(row["plain"] > 0 and row["visagg"] > 0 for row in found["heads"])
    assert embeddings.Embeddings(world.store).damaged().size == 0
