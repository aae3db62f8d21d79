"""The ablation: each switch does what it says, changes are paired, and nothing is trained twice."""

import json

import polars as pl
import pytest

from pipeline import ablation, sets
from pipeline.heads import resolve
from tests.test_train import FAST, FEW, SETTINGS, World

HEADS = {"average": resolve("average"), "attention_cg": resolve("attention_cg")}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def trained(world, tmp_path, monkeypatch):
    """What the ablation wrote, and with what it trained: (switched keys, whether on test) each time."""
    one = pl.read_parquet(world.sets).with_columns(pl.col("images").list.head(1), pl.col("labels").list.head(1))
    monkeypatch.setattr(sets, "of_one_image", lambda *_: one)
    calls, tune = [], ablation.tune

    def counted(spec, data, chosen_on, settings):
        calls.append((spec.model_dump(), len(chosen_on), chosen_on.mask.sum().item()))
        return tune(spec, data, chosen_on, settings.model_copy(update={"max_epochs": 3}))

    monkeypatch.setattr(ablation, "tune", counted)
    path = tmp_path / "ablation.json"
    ablation.ablate(HEADS, world.store, tmp_path, world.sets, world.labels, path, SETTINGS.sets, FAST, FEW)
    return json.loads(path.read_text()), calls


def test_every_switch_of_every_head_is_there(trained):
    content, calls = trained
    assert content["backbone"] == "toy"
    switches = {head: [row["switch"] for row in content["rows"] if row["head"] == head] for head in HEADS}
    common = ["none", "padding takes part", "vectors not standardised"]
    protocol = ["choices made on the test sets", "test sets of one image", "all of these"]
    assert switches["average"] == [*common, "the sum divided by 8", *protocol]
    assert switches["attention_cg"] == [*common, "scores not scaled", "tanh in the gate", *protocol]
    assert len(calls) == len(content["rows"]) - len(HEADS), "sets of one image are tested with what is trained already"
    specs = [spec for spec, _, _ in calls if spec["pool"] == "attention"]
    assert [spec["gate_activation"] for spec in specs].count("tanh") == 2
    assert [spec["mask_padding"] for spec in specs].count(False) == 2
    assert [spec["scale_scores"] for spec in specs].count(False) == 2


def test_changes_are_from_the_plain_head_on_the_same_sets(trained):
    content, _ = trained
    for row in content["rows"]:
        alone = row["switch"] in ("test sets of one image", "all of these")
        for figure in ("micro_f1", "micro_ap"):
            assert set(row[figure]) == ({"figure"} if alone else {"figure", "difference"})
            if not alone:
                plain = next(one for one in content["rows"] if one["head"] == row["head"] and one["switch"] == "none")
                change = row[figure]["figure"][0] - plain[figure]["figure"][0]
                assert row[figure]["difference"][0] == pytest.approx(change, abs=2e-6)
    none = [row for row in content["rows"] if row["switch"] == "none"]
    assert all(row[figure]["difference"] == [0, 0, 0] for row in none for figure in ("micro_f1", "micro_ap"))
    one_image = next(row for row in content["rows"] if row["switch"] == "test sets of one image")
    assert one_image["micro_ap"]["figure"] != none[0]["micro_ap"]["figure"]
