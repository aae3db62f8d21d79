"""Stage two on synthetic vectors: it learns, it does not peek, and it gives the same answer twice."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pipeline import batches, catalogue, embeddings, evaluate, metrics, params, provenance, runs, scores, train, tuning
from pipeline.errors import StageError, StoreError
from pipeline.heads import PRESETS, resolve
from tests.conftest import ROOT

WIDTH, KINDS = 24, 4
SETTINGS = params.load(ROOT / "pipeline/params.yaml")
FAST = SETTINGS.train.model_copy(
    update={"seeds": [0, 1], "learning_rates": [3e-3, 1e-2], "batch_size": 16, "max_epochs": 10}
)
FEW = SETTINGS.evaluate.model_copy(update={"ks": [1, 3], "resamples": 100})
IDENTITY = {"width": WIDTH, "weights": "made for a test"}


class World:
    """Images of a few kinds with noisy vectors; a set's labels are its images' kinds."""

    def __init__(self, folder: Path, kinds_of_test: int = KINDS, swap_test_labels: bool = False):
        generator = np.random.default_rng(0)
        kind = generator.integers(0, KINDS, 120)
        vectors = generator.normal(size=(KINDS, WIDTH))[kind] * 1.5 + generator.normal(size=(120, WIDTH)) + 3.0
        digests = np.stack([np.frombuffer(provenance.digest(bytes([i])), np.uint8) for i in range(120)])
        self.store, self.sets, self.labels = folder / "toy.h5", folder / "sets.parquet", folder / "labels.json"
        with embeddings.open_for_writing(self.store, IDENTITY, 7, digests) as store:
            store.write(np.arange(120), vectors)
        images = [sorted(generator.choice(120, generator.integers(1, 6), replace=False).tolist()) for _ in range(300)]
        labels = [sorted(set(kind[own].tolist())) for own in images]
        split = ["train"] * 180 + ["validation"] * 60 + ["test"] * 60
        if swap_test_labels:
            labels[240:] = [[(label + 1) % KINDS for label in own] for own in labels[240:]]
        frame = {"set_id": [f"u{i:03d}" for i in range(300)], "images": images, "labels": labels, "split": split}
        catalogue.write_table(self.sets, pl.DataFrame(frame, schema=catalogue.SETS))
        catalogue.write_labels(self.labels, [f"kind {i}" for i in range(KINDS)], provenance.digest_images(digests))

    def train(self, folder: Path, head: str, settings=FAST) -> runs.Run:
        train.train(resolve(head), self.store, self.sets, self.labels, folder, settings)
        return runs.load(folder)

    def evaluate(self, folder: Path, out: Path) -> dict[str, float]:
        evaluate.evaluate([folder], self.store, self.sets, self.labels, out / "metrics", out / "scores", FEW)
        return json.loads((out / f"metrics/{folder.name}.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("head", PRESETS)
def test_every_head_learns_and_is_scored(head, world, tmp_path):
    run = world.train(tmp_path / "toy" / head, head, FAST.model_copy(update={"learning_rates": [1e-2]}))
    figures = world.evaluate(tmp_path / "toy" / head, tmp_path)
    assert list(figures) == ["micro_f1", "macro_f1", "micro_ap", "macro_ap", "f1@1", "f1@3"]
    assert figures["micro_f1"] > 0.7
    assert [seed.seed for seed in run.seeds] == FAST.seeds
    sets, training = (read(tmp_path / "scores" / head) for read in (scores.sets, scores.training))
    assert len(sets) == 60 * len(FAST.seeds)
    assert sets["f1@3"].mean() == pytest.approx(figures["f1@3"], abs=2e-6)
    assert sets["importance"].list.len().to_list() == sets["images"].list.len().to_list()
    assert sets["importance"].list.sum().to_numpy() == pytest.approx(1, abs=1e-5)
    kept = {epoch["seed"]: epoch["micro_ap"] for epoch in training["epochs"]}
    assert kept.keys() == set(FAST.seeds) and training["learning_rate"] == run.learning_rate


def test_curves_are_of_the_kept_runs_alone(world, tmp_path):
    settings = FAST.model_copy(update={"learning_rates": [1e-4, 1e-2], "max_epochs": 2})
    run = world.train(tmp_path / "toy/average", "average", settings)
    world.evaluate(tmp_path / "toy/average", tmp_path)
    epochs = scores.training(tmp_path / "scores/average")["epochs"]
    assert [(one["seed"], one["epoch"]) for one in epochs] == [(seed, epoch) for seed in FAST.seeds for epoch in (1, 2)]
    history = pl.read_csv(tmp_path / "toy/average/history.csv")
    assert [one["loss"] for one in epochs] == history.filter(learning_rate=run.learning_rate)["loss"].to_list()
    assert len(history) > len(epochs)


def test_sets_are_saved_with_their_images_and_what_was_predicted(world, tmp_path):
    run = world.train(tmp_path / "toy/noisy_or", "noisy_or")
    world.evaluate(tmp_path / "toy/noisy_or", tmp_path)
    saved = scores.sets(tmp_path / "scores/noisy_or").filter(seed=1)
    test = pl.read_parquet(world.sets).filter(pl.col("split") == "test")
    assert saved["set_id"].to_list() == test["set_id"].to_list()
    assert saved["images"].to_list() == test["images"].to_list()
    data = batches.load(world.sets, world.labels, embeddings.Embeddings(world.store), "test")
    probabilities = batches.scores(runs.load_head(tmp_path / "toy/noisy_or", run, 1), data)
    assert saved["best"].list.first().to_list() == probabilities.argmax(1).tolist()
    assert saved["best_scores"].list.first().to_list() == pytest.approx(probabilities.max(1).tolist())
    claims = probabilities >= run.seeds[1].threshold
    assert saved["predicted"].to_list() == [np.flatnonzero(row).tolist() for row in claims]


def test_segments_are_counted_as_the_sets_have_them(world, tmp_path):
    world.train(tmp_path / "toy/average", "average", FAST.model_copy(update={"max_epochs": 1}))
    world.evaluate(tmp_path / "toy/average", tmp_path)
    figures = scores.figures(tmp_path / "scores/average").filter(metric="micro_ap", seed=0)
    counted = {tuple(row) for row in figures.select("by", "segment", "n").iter_rows()}
    sets = pl.read_parquet(world.sets)
    trained = sets.filter(pl.col("split") == "train")
    seen = set(trained["images"].explode().to_list())
    test = sets.filter(pl.col("split") == "test")
    unseen = [sum(image not in seen for image in own) / len(own) for own in test["images"].to_list()]
    assert ("unseen", "none", sum(share == 0 for share in unseen)) in counted
    sizes = test["images"].list.len()
    for name, low, high in (("1", 1, 1), ("2-3", 2, 3), ("4-5", 4, 5)):
        assert ("images", name, sizes.is_between(low, high).sum()) in counted
    assert ("labels", "1", (test["labels"].list.len() == 1).sum()) in counted
    of_labels = dict(figures.filter(by="frequency").select("segment", "value").iter_rows())
    frequency = trained["labels"].explode().value_counts(sort=True)["labels"].to_list()
    assert set(of_labels) == {"head", "middle", "tail"} and len(frequency) == KINDS


def test_the_same_seeds_give_the_same_bytes_on_any_number_of_cores(world, tmp_path, monkeypatch):
    world.train(tmp_path / "a", "squeeze_expand_fc")
    monkeypatch.setattr(tuning.joblib, "cpu_count", lambda: 1)
    world.train(tmp_path / "b", "squeeze_expand_fc")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_training_does_not_look_at_the_test_split(world, tmp_path):
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other", swap_test_labels=True)
    world.train(tmp_path / "a", "noisy_or")
    other.train(tmp_path / "b", "noisy_or")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    figures = other.evaluate(tmp_path / "b", tmp_path)
    assert figures["micro_ap"] < 0.6, "the swap is to be seen in the test figures"


def test_the_learning_rate_and_epoch_are_the_best_on_validation(world, tmp_path):
    run = world.train(tmp_path / "h", "average_fc")
    history = pl.read_csv(tmp_path / "h/history.csv")
    first = history.filter(pl.col("seed") == FAST.seeds[0]).group_by("learning_rate").agg(pl.col("micro_ap").max())
    assert run.learning_rate == first.sort("micro_ap")["learning_rate"][-1]
    for seed in run.seeds:
        own = history.filter((pl.col("seed") == seed.seed) & (pl.col("learning_rate") == run.learning_rate))
        assert own["micro_ap"].max() == pytest.approx(seed.micro_ap, abs=1e-6)
        assert own.sort("micro_ap", "epoch", descending=[True, False])["epoch"][0] == seed.epoch


def test_a_saved_head_scores_validation_as_its_record_says(world, tmp_path):
    """Catches parameters of another epoch, a lost standardisation and a missing eval()."""
    run = world.train(tmp_path / "h", "attention_cg_fc")
    data = batches.load(world.sets, world.labels, embeddings.Embeddings(world.store), "validation")
    once = np.ones((1, len(data)))
    for seed in run.seeds:
        own = batches.scores(runs.load_head(tmp_path / "h", run, seed.seed), data)
        assert metrics.micro_ap(own, data.truth(), once)[0] == pytest.approx(seed.micro_ap, abs=1e-5)
        assert metrics.best_threshold(own, data.truth()) == pytest.approx(seed.threshold, abs=1e-5)


def test_padding_does_not_change_what_is_learnt(world, tmp_path, monkeypatch):
    world.train(tmp_path / "a", "attention2_fc")
    plain = batches._pad

    def wider(lists, padding, width):
        rows, mask = plain(lists, padding, width)
        return np.pad(rows, ((0, 0), (0, 3)), constant_values=padding), np.pad(mask, ((0, 0), (0, 3)))

    monkeypatch.setattr(batches, "_pad", wider)
    run = world.train(tmp_path / "b", "attention2_fc")
    first = runs.load(tmp_path / "a")
    assert [seed.micro_ap for seed in run.seeds] == pytest.approx([seed.micro_ap for seed in first.seeds], abs=2e-3)


def test_a_head_refuses_vectors_of_another_identity(world, tmp_path):
    world.train(tmp_path / "toy/average", "average")
    run = runs.load(tmp_path / "toy/average")
    with pytest.raises(StoreError, match="weights: other, not made for a test"):
        runs.require_identity(tmp_path / "toy/average", run, {**IDENTITY, "weights": "other"})


def test_what_is_missing_is_named(world, tmp_path):
    with pytest.raises(StageError, match="run visagg train toy average"):
        runs.load(tmp_path / "toy/average")
    with pytest.raises(StoreError, match="run visagg embed nowhere"):
        train.train(resolve("average"), tmp_path / "nowhere.h5", world.sets, world.labels, tmp_path / "h", FAST)
    assert not (tmp_path / "h").exists()


def test_positives_weigh_in_the_loss(world, tmp_path):
    """With heavier positives the same head claims more."""
    claims = {}
    for weight in (1.0, 50.0):
        run = world.train(tmp_path / f"w{weight}", "average", FAST.model_copy(update={"positive_weight": weight}))
        data = batches.load(world.sets, world.labels, embeddings.Embeddings(world.store), "validation")
        claims[weight] = batches.scores(runs.load_head(tmp_path / f"w{weight}", run, 0), data).mean()
    assert claims[50.0] > claims[1.0] + 0.05


def test_importance_points_at_the_image_that_has_the_label(world, tmp_path):
    run = world.train(tmp_path / "h", "noisy_or")
    head = runs.load_head(tmp_path / "h", run, 0)
    data = batches.load(world.sets, world.labels, embeddings.Embeddings(world.store), "test")
    batch = data.batch(torch.arange(20))
    weights = head.importance(batch.x, batch.mask)
    assert torch.allclose(weights.sum(1), torch.ones(20), atol=1e-5)
