"""The cost file: what is counted, and how times are taken. No time is compared with anything."""

import json
from types import SimpleNamespace

import pytest
import torch

from pipeline.evaluation import cost
from pipeline.evaluation.cost import measure_heads
from tests.support.world import DIM, KINDS, World


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    monkeypatch.setattr(cost, "ROUNDS", 3)
    monkeypatch.setattr(cost, "WARM_UP", 1)
    return World(tmp_path, {"compare.heads": ["squeeze_fc", "noisy_or"]})


def cost_of(world):
    measure_heads(world.project, "old", world.settings)
    return json.loads(world.project.cost("old").read_text())


def test_every_compared_head_is_counted_as_trained_and_as_folded(world):
    content = cost_of(world)
    counted = {name: head.pop("parameters") for name, head in content["heads"].items()}
    assert counted == {name: spec.parameter_count(DIM, KINDS) for name, spec in world.settings.compared().items()}
    assert content["heads"]["squeeze_fc"]["folded_parameters"] < counted["squeeze_fc"]
    assert content["heads"]["noisy_or"]["folded_parameters"] == counted["noisy_or"]
    assert all(
        head.keys() == {"milliseconds", "folded_parameters", "folded_milliseconds"}
        for head in content["heads"].values()
    )
    assert (content["dim"], content["classes"], content["images"]) == (DIM, KINDS, world.settings.sets.max_images)
    assert content["backbone_parameters"] == 1000
    assert content["machine"].keys() == {"processor", "threads", "torch"}


def test_a_time_is_the_median_of_the_rounds_after_the_warm_up(world, monkeypatch):
    """By a clock that a decision moves on by as many seconds as its round says: first 100, then 3, 1 and 2."""
    heads, clock = 2 * len(world.settings.compare.heads), SimpleNamespace(calls=0, now=0.0)

    def tick():
        decision, ends = divmod(clock.calls, 2)
        clock.calls += 1
        clock.now += (100, 3, 1, 2)[decision // heads] if ends else 0
        return clock.now

    monkeypatch.setattr(cost.time, "perf_counter", tick)
    content = cost_of(world)
    assert clock.calls == 2 * 4 * heads
    for head in content["heads"].values():
        assert head["milliseconds"] == head["folded_milliseconds"] == 2000
    assert torch.get_num_threads() == 1
