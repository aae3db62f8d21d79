"""Stage two on made-up vectors: it learns, it does not peek, and it gives the same answer twice."""

import math
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
import torch

from pipeline.core.errors import StageError, StoreError
from pipeline.embeddings.store import Embeddings
from pipeline.heads.registry import specs
from pipeline.metrics import selection
from pipeline.settings.settings import Settings
from pipeline.training import dataset, tuning
from pipeline.training.stage import train
from tests.support.records import rewrite
from tests.support.world import DIM, FINGERPRINTS, KINDS, USERS, World, contents

TRIED = {"heads": {"tried": {"pool": "mean"}}}  # a head that is not compared
TWO_RATES = {"train.learning_rates": [3e-3, 1e-2], "train.dropouts": [0.5]}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"), TWO_RATES)


def trained(world, head):
    """A head of a world, trained once."""
    if not world.checkpoint("old", head).is_dir():
        world.train("old", head)
    return world.trained("old", head)


def history_of(world, head):
    """Every epoch of every run of a trained head."""
    return pl.read_csv(world.checkpoint("old", head) / "history.csv")


POOLS = [{"pool": pool} for pool in specs()]
PARTS = [{"pool": "attention", "gate": "context"}, {"pool": "mean", "hidden": None}, {"pool": "max", "dropout": 0.3}]


@pytest.mark.parametrize("parts", [*POOLS, *PARTS], ids=lambda parts: " ".join(map(str, parts.values())))
def test_every_pool_learns_and_is_scored(parts, world):
    quick = {"train.seeds": [0], "train.learning_rates": [2e-2], "train.cycles": [4]}
    settings = world.changed({"heads": {"tried": parts}, **quick})
    world.train("old", "tried", settings=settings)
    trained = world.trained("old", "tried")
    [head], [result] = trained.heads, trained.checkpoint.seeds
    assert head.spec == settings.head("tried")
    truth = world.data("old", "validation").truth()
    by_chance = selection.micro_ap(np.tile(truth.mean(0), (len(truth), 1)), truth, np.ones((1, len(truth))))[0]
    assert result.micro_ap > by_chance + 0.2
    values = world.evaluate("old", "tried", settings=settings)
    assert values.filter(metric="micro_ap", by="all")["value"].item() > 0.8
    saved = world.saved("old", "tried")
    sets, training = saved.sets(), saved.training
    assert len(sets) == USERS["test"]
    assert sets["importance"].list.len().to_list() == sets["images"].list.len().to_list()
    assert sets["importance"].list.sum().to_numpy() == pytest.approx(1, abs=1e-5)
    assert training["parameters"] == head.spec.parameter_count(DIM, KINDS)


def test_the_same_seeds_give_the_same_bytes_on_any_number_of_cores(world, tmp_path, monkeypatch):
    settings = world.changed({"heads": {"tried": {"pool": "squeeze_expand", "dropout": 0.3}}})
    world.train("old", "tried", settings=settings)
    first = contents(world.checkpoint("old", "tried"))
    assert first["seed-0.safetensors"] != first["seed-1.safetensors"]
    monkeypatch.setattr(tuning.joblib, "cpu_count", lambda: 1)
    torch.set_num_threads(2)
    again, state = World(tmp_path), torch.random.get_rng_state()
    again.train("old", "tried", settings=settings)
    assert contents(again.checkpoint("old", "tried")) == first
    assert torch.get_num_threads() == 1, "a run is one thread's work"
    assert torch.equal(torch.random.get_rng_state(), state), "training draws from no generator but its own"


def test_every_seed_starts_elsewhere(world):
    settings = world.changed({"train.learning_rates": [1e-12], "train.cycles": [1], **TRIED})
    world.train("old", "tried", settings=settings)
    first, second = (head.classifier[0].weight for head in world.trained("old", "tried").heads)
    assert (first - second).abs().mean() > 0.01


def test_training_does_not_look_at_the_test_split(world, tmp_path):
    changed = World(tmp_path, TWO_RATES, poison=True, swap_test_labels=True)
    first, second = (contents(trained(made, "noisy_or").folder) for made in (world, changed))
    assert {**first, "checkpoint.json": b""} == {**second, "checkpoint.json": b""}
    records = [asdict(trained(made, "noisy_or").checkpoint) for made in (world, changed)]
    assert {**records[0], "sets_digest": ""} == {**records[1], "sets_digest": ""}
    before, after = (
        made.evaluate("old", "noisy_or").filter(metric="micro_ap", by="all")["value"] for made in (world, changed)
    )
    assert after.mean() < before.mean() - 0.2, "the change is to be seen in the test values"


def test_what_is_chosen_is_the_best_on_validation(world):
    record, history = trained(world, "average_fc").checkpoint, history_of(world, "average_fc")
    first = history.filter(seed=0).group_by("learning_rate").agg(pl.col("micro_ap").max()).sort("micro_ap")
    assert record.chosen.learning_rate == first["learning_rate"][-1]
    tried = {trial.learning_rate: pytest.approx(trial.micro_ap, abs=1e-6) for trial in record.tried}
    assert dict(first.iter_rows()) == tried
    assert [result.seed for result in record.seeds] == [0, 1]
    for result in record.seeds:
        run = history.filter(seed=result.seed, learning_rate=record.chosen.learning_rate)
        assert run["micro_ap"].max() == pytest.approx(result.micro_ap, abs=1e-6)
        assert run.sort("micro_ap", "epoch", descending=[True, False])["epoch"][0] == result.epoch


def test_for_each_dropout_the_better_half_of_the_rates_is_tried_longer(world):
    grid = {"train.learning_rates": [1e-3, 3e-3, 1e-2], "train.dropouts": [0.0, 0.9], "train.cycles": [1, 2, 5]}
    settings = world.changed({"heads": {"tried": {"pool": "mean", "tune_dropout": True}}, **grid})
    world.train("old", "tried", settings=settings)
    record = world.trained("old", "tried").checkpoint
    by_cycle = {cycle: [trial for trial in record.tried if trial.cycle == cycle] for cycle in (1, 2, 5)}
    assert [len(trials) for trials in by_cycle.values()] == [6, 4, 2]

    def configurations(trials):
        return [(trial.learning_rate, trial.dropout) for trial in trials]

    for dropout in (0.0, 0.9):
        for shorter, longer in ((1, 2), (2, 5)):
            short, long = (
                [trial for trial in by_cycle[cycle] if trial.dropout == dropout] for cycle in (shorter, longer)
            )
            ranked = sorted(short, key=lambda trial: -trial.micro_ap)
            assert configurations(long) == configurations(ranked)[: len(long)]
    assert record.chosen == max(record.tried, key=lambda trial: trial.micro_ap)
    assert [head.spec.dropout for head in world.trained("old", "tried").heads] == [record.chosen.dropout] * 2
    assert len(history_of(world, "tried").filter(seed=1)) == record.chosen.cycle


def test_a_head_with_a_dropout_of_its_own_tries_no_other(world):
    settings = world.changed({"heads": {"tried": {"pool": "mean", "dropout": 0.3}}, "train.dropouts": [0.0, 0.5]})
    world.train("old", "tried", settings=settings)
    assert {trial.dropout for trial in world.trained("old", "tried").checkpoint.tried} == {0.3}


def test_a_run_stops_when_validation_gains_nothing_for_some_epochs(world):
    patience = 2
    settings = world.changed({"train.patience": patience, "train.learning_rates": [1e-2, 3e-2], **TRIED})
    world.train("old", "tried", settings=settings)
    lengths, [cycle] = [], settings.train.cycles
    for _, run in history_of(world, "tried").group_by("seed", "learning_rate", maintain_order=True):
        best = run["micro_ap"].arg_max() + 1
        assert len(run) == min(best + patience, cycle)
        lengths.append(len(run))
    assert len(lengths) == 3, "the first seed at both rates, the other at the better one"
    assert min(lengths) < cycle


@pytest.mark.parametrize(
    ("sets", "cycles"),
    [(64, [8, 30]), (64 * 100, [8, 30]), (64 * 100 + 1, [8, 29]), (64 * 500, [2, 6]), (64 * 3_000, [1]), (10**7, [1])],
)
def test_with_many_sets_cycles_have_fewer_epochs_in_the_same_proportion(sets, cycles, world):
    budget = world.changed({"train.cycles": [8, 30], "train.batch_size": 64, "train.most_steps": 3000}).train
    assert tuning.within_most_steps(budget, sets=sets).cycles == cycles


def test_no_run_has_more_steps_than_the_settings_say(world):
    steps_an_epoch = -(-len(world.data("old", "train")) // world.settings.train.batch_size)
    quick = {"train.cycles": [2, 6], "train.most_steps": 3 * steps_an_epoch, "train.seeds": [0], **TRIED}
    world.train("old", "tried", settings=world.changed(quick))
    assert {tried.cycle for tried in world.trained("old", "tried").checkpoint.tried} == {1, 3}


@pytest.mark.parametrize("head", ["attention_cg_fc", "noisy_or_dropout"])
def test_a_saved_head_scores_validation_as_its_record_says(head, world):
    """Catches parameters of another epoch, a lost standardisation and a missing eval()."""
    saved, data = trained(world, head), world.data("old", "validation")
    for scores, result in zip(saved.scores(data), saved.checkpoint.seeds, strict=True):
        micro_ap = selection.micro_ap(scores, data.truth(), np.ones((1, len(data))))
        assert micro_ap[0] == pytest.approx(result.micro_ap, abs=1e-5)
        assert selection.best_threshold(scores, data.truth()) == pytest.approx(result.threshold, abs=1e-5)


def test_padding_does_not_change_what_is_learnt(world, monkeypatch):
    pad = dataset._pad

    def pad_more(lists, padding, least):
        rows, mask = pad(lists, padding, least)
        return np.pad(rows, ((0, 0), (0, 3)), constant_values=padding), np.pad(mask, ((0, 0), (0, 3)))

    quick = {"train.seeds": [0], "train.learning_rates": [2e-2], "train.cycles": [4]}
    settings = world.changed({"heads": {"tried": {"pool": "attention2"}}, **quick})
    values = []
    for way, images in ((pad, 5), (pad_more, 8)):
        monkeypatch.setattr(dataset, "_pad", way)
        assert world.data("old", "train").mask.shape[1] == images
        world.train("old", "tried", settings=settings)
        values.append(world.trained("old", "tried").checkpoint.seeds[0].micro_ap)
    assert values[1] == pytest.approx(values[0], abs=2e-3)


def test_positives_weigh_in_the_loss_and_calibration_takes_that_out_again(world):
    """With heavier positives the same head claims more, but for its calibration, which brings it to what is true."""
    before, after = {}, {}
    data = world.data("old", "validation")
    for weight in (1.0, 50.0):
        changes = {"heads": {"tried": {"pool": "noisy_or"}}, "train.positive_weight": weight, "train.seeds": [0]}
        world.train("old", "tried", settings=world.changed({**changes, "train.learning_rates": [1e-2]}))
        trained = world.trained("old", "tried")
        head = trained.heads[0]
        logits = dataset.logits(head, data)
        before[weight] = torch.sigmoid(head.uncalibrated(logits)).mean()
        after[weight] = trained.scores(data)[0].mean()
        assert head.slope > 0
    assert before[50.0] > before[1.0] + 0.1
    truth = data.y.numpy().mean()
    assert abs(before[50.0] - truth) > 0.05
    assert after[50.0] == pytest.approx(truth, abs=0.005) and after[1.0] == pytest.approx(truth, abs=0.005)


@pytest.mark.parametrize("head", ["average", "noisy_or"])
def test_a_dimension_that_does_not_vary_costs_nothing(head, tmp_path):
    made = World(tmp_path, constant=True)
    made.train("old", head)
    made.evaluate("old", head)
    assert made.trained("old", head).heads[0].std[0] == 1
    assert made.saved("old", head).values().filter(metric="micro_ap", by="all")["value"].min() > 0.8


def test_a_loss_or_a_score_that_is_not_finite_ends_the_stage(tmp_path):
    made = World(tmp_path)
    with pytest.raises(StageError, match=r"not finite .*learning rate 1e\+30|score is not finite"):
        made.train("old", "average", settings=diverging(made, 1e30))
    assert not made.checkpoint("old", "average").exists()
    made.train("old", "average")
    head = made.trained("old", "average").heads[0]
    head.classifier.weight.data[0, 0] = math.nan
    with pytest.raises(StageError, match="score is not finite"):
        dataset.scores(head, made.data("old", "test"))


def diverging(made: World, rate: float) -> Settings:
    """The world's settings with a rate that they would refuse: others build them too."""
    train = made.settings.train.model_copy(update={"learning_rates": [rate]})
    return made.settings.model_copy(update={"train": train})


def test_a_head_that_is_not_compared_leaves_the_graph_s_folders_alone(tmp_path):
    made = World(tmp_path, {"train.cycles": [1]})
    made.train("old", "average", "attention")
    assert {path.name for path in (tmp_path / "cache/heads/old").iterdir()} == {"average"}
    tried = tmp_path / "cache/tried/old/attention/checkpoint"
    assert sorted(contents(tried)) == ["checkpoint.json", "history.csv", "seed-0.safetensors", "seed-1.safetensors"]


def test_a_head_refuses_other_vectors_and_other_labels(world):
    saved, store = trained(world, "noisy_or"), Embeddings(world.project.store("old"))
    saved.require(store, world.labelled())
    with pytest.raises(StageError, match="noisy_or was trained on other sets or labels: train it again"):
        saved.require(store, replace(world.labelled(), labels=world.labels[::-1]))
    store.fingerprint = {**FINGERPRINTS["old"], "weights": "others"}
    with pytest.raises(
        StoreError, match=r"noisy_or was trained on other embeddings \(weights: others, not old one's\)"
    ):
        saved.require(store, world.labelled())


def test_what_is_missing_is_named(world):
    with pytest.raises(StageError, match="cache/heads/old/max_fc holds no trained head: run visagg train"):
        world.trained("old", "max_fc")
    with pytest.raises(StoreError, match="run visagg embed nowhere"):
        train(world.project, "nowhere", "average", world.settings)
    assert not world.project.checkpoint("nowhere", "average").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def other_dim(path):
    rewrite(path, dim=DIM + 1)


@pytest.mark.parametrize(
    ("name", "damage"), [("checkpoint.json", cut), ("checkpoint.json", other_dim), ("seed-1.safetensors", cut)]
)
def test_a_damaged_checkpoint_is_named(name, damage, tmp_path):
    made = World(tmp_path, {"train.cycles": [1]})
    made.train("old", "average")
    damage(made.checkpoint("old", "average") / name)
    with pytest.raises(StageError, match=r"cache/heads/old/average/.* is damaged .*: train the head again"):
        made.trained("old", "average")
