"""Which images fit a map, and on which others it is judged: shared by both stores, nested, never fitted with."""

import numpy as np
import polars as pl
import pytest

from pipeline.core.errors import StageError, StoreError
from pipeline.embeddings.writer import open_for_writing
from pipeline.swap import pairs
from pipeline.swap.stage import Swap
from tests.support.swapping import lend_heads, show, stores, swapped, the_adapter
from tests.support.world import FINGERPRINTS, IMAGES, NEW_DIM, World


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.train("old", "average")
    return made


@pytest.fixture(scope="module")
def content(world) -> dict:
    return swapped(world)


def test_closeness_is_measured_on_images_that_only_test_users_show(world, content):
    """By its definition, from the saved adapter."""
    sets, both = world.labelled().frame, stores(world)
    trained = both.training_rows(sets)
    unseen = np.setdiff1d(pairs.shown(sets, "test"), trained)
    assert content["compared_on"] == "test users' images that no training user has"
    adapter = the_adapter(world)
    known = both.old.read(trained).astype(float)
    old, mapped = (
        (vectors - known.mean(0)) / known.std(0)
        for vectors in (both.old.read(unseen), adapter.apply(both.new.read(unseen)))
    )
    cosine = (old * mapped).sum(1) / np.linalg.norm(old, axis=1) / np.linalg.norm(mapped, axis=1)
    [entry] = [fit for fit in content["adapters"] if (fit["adapter"], fit["pairs"]) == (adapter.kind, adapter.pairs)]
    assert entry["images"] == len(unseen) >= 30
    assert entry["cosine"]["value"] == pytest.approx(cosine.mean(), abs=1e-5)
    assert entry["cosine"]["value"] > 0.8
    assert entry["explained_variance"]["value"] == pytest.approx(
        1 - ((old - mapped) ** 2).sum() / (old**2).sum(), abs=1e-5
    )
    assert content["adapters"][0]["explained_variance"]["value"] > 0.6


def test_where_test_users_show_nothing_new_the_held_out_tenth_is_compared(world, tmp_path):
    shadow = lend_heads(world, World(tmp_path))
    show(shadow, "test", [5, 7, 11])
    content = swapped(shadow)
    assert content["compared_on"] == "the held-out tenth of the pairs"
    assert [fit["images"] for fit in content["adapters"]] == [content["training_images"] // 10] * 5 + [6]
    both = stores(shadow)
    rows = both.training_rows(shadow.labelled().frame)
    fitted = both.fit(rows, ["ridge"], name="test")
    assert list(fitted.held_out) == list(rows[9::10])
    old, mapped = both.old.read(rows[9::10]), fitted.fits["ridge"].trial.apply(both.new.read(rows[9::10]))
    known = both.old.read(rows).astype(float)
    error, total = (((old - vectors) / known.std(0)) ** 2 for vectors in (mapped, known.mean(0)))
    value = content["adapters"][0]["explained_variance"]["value"]
    assert value == pytest.approx(1 - error.sum() / total.sum(), abs=1e-5)


def test_pairs_are_nested_and_the_same_whoever_asks(world):
    sets = world.labelled().frame
    rows = stores(world).training_rows(sets)
    shown = sorted({image for images in sets.filter(pl.col("split") == "train")["images"] for image in images})
    assert sorted(shown, key=lambda row: world.digests[row].tobytes()) == list(rows)


def choosing(kind):
    """A choice of adapter that prefers one kind, whatever validation says."""
    return lambda _, fitted: {adapter.kind: adapter for adapter in fitted}[kind]


def test_fewer_pairs_are_the_first_ones_and_old_vectors_spread_as_in_all(world, monkeypatch):
    monkeypatch.setattr(Swap, "_choose", choosing("restored_ridge"))  # the kind that asks how they spread
    _, content = Swap.load(world.project, "old", "new", world.settings).run()
    both, sets = stores(world), world.labelled().frame
    rows = both.training_rows(sets)
    known, unseen = both.old.read(rows).astype(float), pairs.shown(sets, "test")
    whole = both.fit(rows, ["ridge"], name="test").sums.whole
    fit = both.fit(rows[:64], ["restored_ridge"], name="test", reference=whole).fits["restored_ridge"]
    mapped = fit.final.apply(both.new.read(unseen))
    error, total = (((both.old.read(unseen) - wanted) / known.std(0)) ** 2 for wanted in (mapped, known.mean(0)))
    entry = content["adapters"][-1]
    assert (entry["adapter"], entry["pairs"]) == ("restored_ridge", 64)
    assert entry["strength"] == fit.options["strength"]
    assert entry["explained_variance"]["value"] == pytest.approx(1 - error.sum() / total.sum(), abs=2e-6)


def test_images_that_training_users_also_show_are_not_compared(world, tmp_path):
    shadow = lend_heads(world, World(tmp_path))
    show(shadow, "train", list(range(240)))
    tested = pairs.shown(shadow.labelled().frame, "test")
    assert tested.min() < 240
    assert swapped(shadow)["adapters"][0]["images"] == (tested >= 240).sum()


def test_blocks_of_pairs_change_nothing(world, monkeypatch):
    both = stores(world)
    rows = both.training_rows(world.labelled().frame)
    whole = both.fit(rows, ["ridge"], name="test")
    monkeypatch.setattr(pairs, "BLOCK", 7)
    blocks = both.fit(rows, ["ridge"], name="test")
    np.testing.assert_allclose(blocks.fits["ridge"].final.matrix, whole.fits["ridge"].final.matrix, rtol=1e-8)


def test_sizes_that_are_too_few_for_the_chosen_kind_are_left_out(world, monkeypatch):
    monkeypatch.setattr(pairs, "SIZES", (20, 64, 128))
    monkeypatch.setattr(Swap, "_choose", choosing("procrustes"))
    _, content = Swap.load(world.project, "old", "new", world.settings).run()
    assert [fit["pairs"] for fit in content["adapters"] if fit["adapter"] == "procrustes"] == [
        content["training_images"],
        64,
        128,
    ]


def test_another_catalogue_is_refused(world, tmp_path):
    shadow = lend_heads(world, World(tmp_path))
    path = shadow.project.store("new")
    path.unlink()
    with open_for_writing(path, FINGERPRINTS["new"], world.digests[::-1].copy(), parameters=1) as store:
        store.write(np.arange(IMAGES), np.ones((IMAGES, NEW_DIM)))
    with pytest.raises(StoreError, match="holds other images than the sets: run visagg embed new again"):
        swapped(shadow)


def test_too_few_pairs_are_refused(world, tmp_path):
    shadow = lend_heads(world, World(tmp_path))
    show(shadow, "train", [1, 2, 3])
    with pytest.raises(StageError, match="old and new share 3 training images, and an adapter takes 20"):
        swapped(shadow)


def test_images_that_one_backbone_could_not_read_are_left_out_of_both(world, content, tmp_path):
    shadow = lend_heads(world, World(tmp_path))
    path, vectors = shadow.project.store("new"), stores(world).new
    unreadable = np.array([3, 270])
    readable = np.setdiff1d(np.arange(IMAGES), unreadable)
    path.unlink()
    with open_for_writing(path, FINGERPRINTS["new"], world.digests, parameters=1000) as store:
        store.write(readable, vectors.read(readable))
        store.write_unreadable(unreadable)
    values = swapped(shadow)
    assert values["training_images"] == content["training_images"] - 1
    assert values["test_users"] == content["test_users"]
    assert values["adapters"][0]["images"] == content["adapters"][0]["images"] - 1
