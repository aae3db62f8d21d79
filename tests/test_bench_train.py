"""The comparison of training speeds: both ways train on the same sets, and what is counted is what was trained."""

import json

import numpy as np
import pytest
import torch

from pipeline.bench import training
from pipeline.bench.training import Comparison, bench_training, collate, load_sets, measure_training
from pipeline.embeddings.store import Embeddings
from pipeline.heads.presets import preset
from tests.support.world import DIM, World

SETS = 120  # of the training split


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def sets(world):
    return load_sets(world.project, "old")


def test_the_plain_loop_reads_what_the_other_way_holds(sets):
    rows = training.RowsFromFile(sets.store, sets.rows, sets.data.train.y)
    assert len(rows) == len(sets.data.train) == SETS
    x, mask, y = collate([rows[index] for index in range(20)])
    batch = sets.data.train.batch(torch.arange(20))
    assert torch.equal(mask, batch.mask[:, : mask.shape[1]]) and torch.equal(y, batch.y)
    for plain, held, shown in zip(x, batch.x, mask, strict=True):
        np.testing.assert_array_equal(*(np.sort(vectors[: shown.sum()].numpy(), 0) for vectors in (plain, held)))


def test_sets_are_counted_once_a_run(world, sets, monkeypatch):
    monkeypatch.setattr(training, "_rate", lambda work: work())
    settings = world.changed({"train.learning_rates": [1e-2, 3e-2]}).train
    assert training._plain_rate(preset("average"), sets, settings) == SETS
    assert training._tuning_rate(preset("average"), sets, settings) == SETS * 3, "two rates, and one more seed"


def test_the_values_are_medians_over_the_rounds(world, sets, monkeypatch):
    plain, tuning, products = iter([10.0, 20.0, 15.0]), iter([100.0, 100.0, 300.0]), iter([9e9, 1e6, 1e6])
    monkeypatch.setattr(training, "_product_rate", lambda: next(products))
    monkeypatch.setattr(training, "_plain_rate", lambda *_: next(plain))
    monkeypatch.setattr(training, "_tuning_rate", lambda *_: next(tuning))
    measured = measure_training({"a": preset("average")}, sets, world.settings.train, rounds=3)
    assert measured["sets"] == SETS and measured["machine"]["cores"] >= 1
    share = round(100 * training.operations_a_set(preset("average"), sets, 16) / 1e6, 2)
    assert measured["heads"] == [
        {"name": "a", "plain": 15.0, "visagg": 100.0, "ratio": 6.67, "ratio_low": 5.0, "ratio_high": 20.0}
        | {"share": share}
    ]
    assert share > 0
    assert "6.7 [5.0, 20.0]" in training.table(measured)


def test_operations_are_those_of_the_matrix_products(sets):
    classes, shown = sets.data.train.y.shape[1], sets.data.train.rows.shape[1]
    linear = 2 * DIM * classes  # of the pooled vector; back, for the weights alone and for the pooled vector nothing
    pooling = 2 * DIM * shown
    assert training.operations_a_set(preset("average"), sets, 16) == 2 * linear + pooling


def test_both_ways_for_real(world, tmp_path):
    comparison = Comparison("old", ["average", "noisy_or"], rounds=1)
    text = bench_training(world.project, comparison, world.settings, json_path=tmp_path / "values.json")
    heads = json.loads((tmp_path / "values.json").read_text())["heads"]
    assert (
        [row["name"] for row in heads] == ["average", "noisy_or"] == [line.split()[0] for line in text.splitlines()[1:]]
    )
    assert all(row["plain"] > 0 and row["visagg"] > 0 for row in heads)
    assert not len(Embeddings(world.project.store("old")).damaged())
