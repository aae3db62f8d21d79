"""Swapping backbones on made-up vectors: what is kept is measured, heads are left alone, test users choose nothing."""

import numpy as np
import pytest
import torch

from pipeline.core.errors import StageError, StoreError
from pipeline.core.progress import Counter
from pipeline.metrics import bootstrap
from pipeline.metrics.bootstrap import estimate
from pipeline.swap import answers, maps
from pipeline.swap.answers import PairedSets, adapted
from pipeline.swap.retention import compare, retention
from pipeline.swap.stage import swap
from tests.support.swapping import best_row, lend_heads, stores, swapped, the_adapter
from tests.support.world import DIM, NEW_DIM, World, contents

HEADS = ("average", "max_fc", "noisy_or")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.train("old", *HEADS)
    made.train("new", "average", "noisy_or")
    return made


@pytest.fixture(scope="module")
def before(world) -> dict[str, bytes]:
    """Every file of the project before it was swapped."""
    return contents(world.project.root)


@pytest.fixture(scope="module")
def content(world, before) -> dict:
    return swapped(world)


def test_the_heads_go_on_working_with_a_mapped_backbone(content):
    for name in ("average", "noisy_or"):
        best = best_row(content, name)
        assert best["micro_ap"]["retention"]["value"] > 0.95
        assert best["micro_ap"]["adapted"]["value"] > content["floor"]["micro_ap"]["value"] + 0.2
        low, high = best["micro_ap"]["retention"]["interval"]
        assert low <= best["micro_ap"]["retention"]["value"] <= high
        assert content["heads"][name]["unadapted"] is None, "the dims differ"
        assert 0 <= best["negative_flips"]["value"] < 0.1
        assert best["overlap"]["value"] > 0.8
    low, high = content["heads"]["average"]["stay"]["micro_ap"]["interval"]
    assert low < high


def test_a_head_that_is_not_retrained_has_no_retention(content):
    assert content["heads"]["max_fc"]["retrained"] is None
    assert content["heads"]["max_fc"]["adapted"][0]["micro_ap"]["retention"] is None
    assert content["heads"]["max_fc"]["obstacle"] == "it takes the largest number of each dimension"


@pytest.mark.parametrize(("backbone", "key"), [("old", "stay"), ("new", "retrained")])
def test_staying_and_retraining_are_what_evaluate_says(world, content, backbone, key, tmp_path):
    scored = lend_heads(world, World(tmp_path)).evaluate(backbone, "noisy_or").filter(by="all")
    for name in ("micro_ap", "micro_f1"):
        rows = scored.filter(metric=name)
        wanted = estimate(np.column_stack([rows["value"], np.array(rows["samples"].to_list())]))
        entry = content["heads"]["noisy_or"][key][name]
        assert entry["value"] == pytest.approx(wanted.value, abs=2e-6)
        assert entry["interval"] == pytest.approx([wanted.low, wanted.high], abs=1e-3)  # ties of float32


def test_values_of_adapted_vectors_by_their_definitions(world, content):
    """From vectors mapped by hand, one seed after the other."""
    adapter = the_adapter(world)
    assert (adapter.kind, adapter.pairs) == (content["best"], content["training_images"])
    data, head = world.data("old", "test"), world.trained("old", "noisy_or")
    vectors = stores(world).new.read(data.images.numpy()).astype(np.float64)
    mapped = np.vstack([vectors @ adapter.matrix + adapter.offset, np.zeros((1, DIM))]).astype(np.float32)
    x, flips, kept = torch.from_numpy(mapped)[data.rows], [], []
    for seed, scores, threshold in zip(head.heads, head.scores(data), head.thresholds, strict=True):
        with torch.inference_mode():
            after = torch.sigmoid(seed(x, data.mask)).numpy()
        right = (scores >= threshold) == data.truth()
        flips.append((right & ((after >= threshold) != data.truth())).mean())
        best = [[set(np.argsort(-row, kind="stable")[:2]) for row in both] for both in zip(scores, after, strict=True)]
        kept.append(np.mean([len(old & new) / 2 for old, new in best]))
    row = best_row(content, "noisy_or")
    assert np.mean(flips) > 0, "there is something to measure"
    assert row["negative_flips"]["value"] == pytest.approx(np.mean(flips), abs=1e-6)
    assert row["overlap"]["value"] == pytest.approx(np.mean(kept), abs=1e-6)


def test_retention_and_gain_by_their_definitions(content):
    head, row = content["heads"]["noisy_or"], best_row(content, "noisy_or")
    for name in ("micro_ap", "micro_f1"):
        kept, floor = row[name]["adapted"]["value"], content["floor"][name]["value"]
        fresh, stay = head["retrained"][name]["value"], head["stay"][name]["value"]
        assert row[name]["retention"]["value"] == pytest.approx((kept - floor) / (fresh - floor), abs=1e-5)
        assert row[name]["gain"]["value"] == pytest.approx(kept - stay, abs=2e-6)


def test_retention_counts_from_the_floor():
    kept, fresh, floor = (np.full((1, 101), value) for value in (0.75, 0.8, 0.3))
    assert retention(kept, fresh, floor) == {"value": 0.9, "interval": [0.9, 0.9]}
    assert retention(kept, floor, floor) is None, "retraining is no better than popularity"


def test_padding_stays_zeros_when_vectors_are_adapted(world, content):
    adapter = the_adapter(world)
    data = world.data("new", "test")
    mapped = adapted(data, adapter)
    before, after = data.batch(slice(None)), mapped.batch(slice(None))
    np.testing.assert_array_equal(after.x[~after.mask], 0)
    np.testing.assert_allclose(after.x[after.mask], adapter.apply(before.x[before.mask].numpy()), atol=1e-5)
    assert np.abs(adapter.offset).max() > 0


def test_vectors_of_the_same_dim_are_also_tried_without_an_adapter(world):
    data, head = world.data("old", "test"), world.trained("old", "average")
    samples = np.ones((3, len(data)), np.float32)
    floor = {name: np.zeros((1, 3)) for name in ("micro_ap", "micro_f1")}
    negated = data.mapped(torch.neg)
    pairs = [PairedSets(data, new, floor, samples, 2) for new in (data, negated)]
    same, worse = (compare({"h": head}, both, [], retrained={}, progress=Counter())["h"] for both in pairs)
    assert same["unadapted"] == same["stay"] == worse["stay"]
    assert worse["unadapted"]["micro_ap"]["value"] < worse["stay"]["micro_ap"]["value"] - 0.2


def test_every_kind_is_fitted_on_all_pairs_and_the_best_on_fewer(content):
    fitted = [(fit["adapter"], fit["pairs"]) for fit in content["adapters"]]
    assert fitted[:5] == [(kind, content["training_images"]) for kind in list(maps.KINDS)[:-1]]
    assert fitted[5:] == [(content["best"], 64)]
    assert content["refused"] == {"scaling": f"scaling needs vectors of equal dim, not {NEW_DIM} and {DIM}"}
    for head in content["heads"].values():
        assert [(row["adapter"], row["pairs"]) for row in head["adapted"]] == fitted


def test_swapping_writes_adapters_and_values_and_touches_nothing_else(world, before, content):
    after = contents(world.project.root)
    assert after.keys() - before.keys() == {"cache/adapters/old/new.safetensors", "cache/swap/old/new.json"}
    assert {name: after[name] for name in before} == before


def test_swapping_twice_gives_the_same_bytes(world, content, tmp_path):
    twin = lend_heads(world, World(tmp_path))
    for _ in range(2):
        swapped(twin)
        for path in ("cache/adapters", "cache/swap"):
            assert contents(twin.project.root / path) == contents(world.project.root / path)


def test_processes_and_a_head_at_a_time_give_the_same_bytes(world, content, tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "LEAST_WORK", 0)
    monkeypatch.setattr(bootstrap.joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(answers, "MOST_SCORES", 1)
    twin = lend_heads(world, World(tmp_path))
    swapped(twin)
    for path in ("cache/adapters", "cache/swap"):
        assert contents(twin.project.root / path) == contents(world.project.root / path)


def test_test_images_are_never_fitted_or_chosen_with(world, content, tmp_path):
    poisoned = lend_heads(world, World(tmp_path, poison=True))
    values = swapped(poisoned)
    adapter = poisoned.project.adapter("old", "new")
    assert adapter.read_bytes() == world.project.adapter("old", "new").read_bytes()
    assert values["heads"]["noisy_or"]["stay"] != content["heads"]["noisy_or"]["stay"], "the poison is to be seen"


def test_test_labels_choose_nothing(world, content, tmp_path):
    wrong = lend_heads(world, World(tmp_path, swap_test_labels=True))
    values = swapped(wrong)
    assert values["best"] == content["best"]
    loaded = [the_adapter(made) for made in (wrong, world)]
    assert np.array_equal(loaded[0].matrix, loaded[1].matrix) and np.array_equal(loaded[0].offset, loaded[1].offset)
    assert (
        values["heads"]["noisy_or"]["stay"]["micro_ap"]["value"]
        < 0.8 * (content["heads"]["noisy_or"]["stay"]["micro_ap"]["value"])
    )


def test_the_adapter_is_the_one_with_which_heads_do_best_on_validation(world, content):
    both, sets = stores(world), world.labelled().frame
    fits = both.fit(both.training_rows(sets), maps.KINDS, name="test").fits
    data, quality = world.data("new", "validation"), {}
    for kind, fit in fits.items():
        mapped = data.mapped(lambda new, fit=fit: torch.from_numpy(fit.final.apply(new.numpy()).astype(np.float32)))
        values = []
        for name in HEADS:
            for scores in world.trained("old", name).scores(mapped):
                order = np.argsort(-scores.ravel(), kind="stable")
                hits = data.truth().ravel()[order]
                values.append((np.cumsum(hits) / np.arange(1, hits.size + 1))[hits].mean())
        quality[kind] = np.mean(values)
    assert content["best"] == max(quality, key=quality.get)
    assert len(set(quality.values())) > 1


def test_random_weights_are_refused_and_not_served(world, content):
    with pytest.raises(StageError, match="noise cannot stand in for old: adapted by ridge from") as refused:
        swapped(world, "noise")
    assert "\n" not in str(refused.value)
    assert not world.project.swap("old", "noise").exists()
    assert not world.project.adapter("old", "noise").exists()


def test_heads_of_other_vectors_and_missing_ones_are_refused(world, tmp_path):
    shadow = World(tmp_path)
    with pytest.raises(StageError, match="no head is trained on old: run visagg train old HEAD"):
        swapped(shadow)
    (tmp_path / "cache/heads").mkdir()
    (tmp_path / "cache/heads/old").symlink_to(world.project.root / "cache/heads/new")
    with pytest.raises(StoreError, match="weights: old one's, not new one's"):
        swapped(shadow)


def test_an_empty_list_of_swaps_leaves_empty_folders(tmp_path):
    world = World(tmp_path)
    swap(world.project, [], world.settings)
    assert contents(world.project.adapters) == contents(world.project.swaps) == {}
    assert world.project.adapters.is_dir()
    assert world.project.swaps.is_dir()
