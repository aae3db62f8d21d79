"""The ablation: each switch does what it says, differences are paired, and nothing is trained twice."""

import json
from dataclasses import dataclass

import polars as pl
import pytest

from pipeline.evaluation import ablation
from pipeline.evaluation.ablation import ablate, switches
from pipeline.heads.registry import parse, specs
from pipeline.sets.building import of_one_image
from pipeline.training.fit import Data
from tests.support.world import KINDS, World

HEADS = ["average", "attention_cg"]
METRICS = ("micro_f1", "micro_ap", "f1", "published_f1")
PAIRED = {"value", "difference"}
PROTOCOL = [
    "positives weigh 1",
    "hardly trained",
    "trained for 4 epochs",
    "threshold of 0.5",
    "choices made on the test sets",
    "test sets of one image",
    "hardly trained, positives weigh 1",
    "the same, on vectors not standardised",
    "the same, with all of the code's arithmetic",
    "that arithmetic, trained for 4 epochs",
    "all of these",
]
SHARED = ["none", "padding takes part", "vectors not standardised", *PROTOCOL]
OTHER_SETS = ("test sets of one image", "all of these")  # nothing to pair with


@dataclass(frozen=True)
class Ablated:
    """What the ablation wrote, and with what it trained: spec, data and budget each time."""

    world: World
    content: dict
    trained: list[tuple[dict, Data]]
    budgets: list[tuple]

    def row(self, head: str, switch: str) -> dict:
        [row] = [row for row in self.content["rows"] if (row["head"], row["switch"]) == (head, switch)]
        return row


@pytest.fixture(scope="module")
def ablated(tmp_path_factory) -> Ablated:
    changes = {"ablation.heads": HEADS, "train.cycles": [2, 4], "sets.least_items": 1}
    world, trained, rates = World(tmp_path_factory.mktemp("world"), changes), [], []
    world.write_catalogue()

    def tune(spec, data, settings, **how):
        trained.append((spec.model_dump(), data))
        assert settings.seeds == [0]
        rates.append((settings.learning_rates, settings.cycles, settings.positive_weight))
        return plain(spec, data, settings, **how)

    with pytest.MonkeyPatch.context() as patch:
        plain = ablation.tune
        patch.setattr(ablation, "tune", tune)
        ablate(world.project, world.settings)
    return Ablated(world, json.loads(world.project.ablation.read_text()), trained, rates)


def test_every_switch_of_every_head_is_there(ablated):
    assert ablated.content["backbone"] == "old"
    rows = ablated.content["rows"]
    names = {head: [row["switch"] for row in rows if row["head"] == head] for head in HEADS}
    common = ["none", "padding takes part", "vectors not standardised"]
    assert names["average"] == [*common, "the sum divided by 8", *PROTOCOL]
    assert names["attention_cg"] == [*common, "scores not scaled", "tanh in the gate", *PROTOCOL]


def test_a_head_is_trained_once_with_each_switch_that_changes_training(ablated):
    tested_only = ("threshold of 0.5", "test sets of one image")
    assert len(ablated.trained) == len(ablated.content["rows"]) - len(HEADS) * len(tested_only)
    attention = [spec for spec, _ in ablated.trained if spec["pool"] == "attention"]
    together = 3  # with the code's arithmetic
    assert [spec["gate_activation"] for spec in attention].count("tanh") == 1 + together
    for key in ("mask_padding", "scale_scores"):
        assert [spec[key] for spec in attention].count(False) == 1 + together, key
    assert [spec["standardised"] for spec in attention].count(False) == 2 + together
    assert [spec["divide_by"] for spec, _ in ablated.trained if spec["pool"] == "mean"].count(8) == 1 + together
    hardly, longer = ([3e-4], [3], 1.0), [budget for budget in ablated.budgets if budget[1] == [4]]
    assert ablated.budgets.count(hardly) == 4 * len(HEADS)
    assert [weight for _, _, weight in longer] == [8.0, 1.0] * len(HEADS)
    assert all(cycles in ([2], [3], [4]) for _, cycles, _ in ablated.budgets)


def test_how_many_times_as_good_one_head_is_follows_from_the_values(ablated):
    rows = ablated.content["ratios"]
    assert {(row["head"], row["against"]) for row in rows} == {("attention_cg", "average")}
    assert [row["switch"] for row in rows] == ["none", *SHARED[1:]]
    for row in rows:
        for metric in ("f1", "published_f1"):
            value, low, high = row[metric]
            wanted = [ablated.row(head, row["switch"])[metric]["value"][0] for head in HEADS]
            assert value == pytest.approx(wanted[1] / wanted[0], rel=1e-4)
            assert low <= value <= high


def test_only_the_switches_that_say_so_choose_on_test_sets(ablated):
    test = set(ablated.world.sets.filter(pl.col("split") == "test")["set_id"])
    validation = set(ablated.world.sets.filter(pl.col("split") == "validation")["set_id"])
    *chosen_on, _ = [
        set(data.validation.set_ids) for _, data in ablated.trained[:13]
    ]  # of the first head, in its order
    assert [sets == test for sets in chosen_on].index(True) == 7
    assert chosen_on[:7] + chosen_on[8:] == [validation] * 11
    every = ablated.trained[12][1].validation
    assert every.mask.sum(1).max() == 1
    assert every.mask.shape[1] == 8, "padded as other sets are"


def test_sets_of_one_image_are_the_test_users_with_one_label_each(ablated):
    singles = of_one_image(ablated.world.project, ablated.world.labelled(), ablated.world.settings.sets)
    users = set(singles.filter(pl.col("split") == "test")["set_id"])
    every = ablated.trained[12][1].validation
    assert set(every.set_ids) == users
    assert every.truth().sum(1).tolist() == [1] * len(users)


def test_differences_are_from_the_plain_head_on_the_same_sets(ablated):
    for row in ablated.content["rows"]:
        plain = ablated.row(row["head"], "none")
        for metric in METRICS:
            assert set(row[metric]) == (PAIRED - {"difference"} if row["switch"] in OTHER_SETS else PAIRED)
            value, low, high = row[metric]["value"]
            assert low <= value <= high
            if row["switch"] not in OTHER_SETS:
                change = value - plain[metric]["value"][0]
                assert row[metric]["difference"][0] == pytest.approx(change, abs=2e-6)
    for head in HEADS:
        assert [ablated.row(head, "none")[metric]["difference"] for metric in METRICS] == [[0, 0, 0]] * len(METRICS)
        one_image = ablated.row(head, "test sets of one image")
        assert one_image["micro_ap"]["value"] != ablated.row(head, "none")["micro_ap"]["value"]
    assert ablated.row("average", "vectors not standardised")["micro_ap"]["difference"][0] != 0


@pytest.mark.parametrize("pool", specs())
def test_every_pool_has_switches_that_it_can_have(pool):
    spec = parse({"pool": pool, "gate": "context"})
    none, *single, every = switches(spec, max_images=8, longest=30)
    assert (none.name, none.spec, every.name) == ("none", {}, "all of these")
    for switch in (*single, every):
        changed = parse({**spec.model_dump(), **switch.spec})
        assert changed.parameter_count(8, KINDS) == spec.parameter_count(8, KINDS)
        assert switch.on_test or switch.one_image or switch.train or switch.threshold or changed != spec
