"""Merged heads: adapter and head in one, saved and scored as any head is; what cannot be merged says why."""

import shutil

import numpy as np
import pytest
import torch

from pipeline.core.errors import SettingsError, StageError, StoreError
from pipeline.embeddings.store import Embeddings
from pipeline.evaluation import results
from pipeline.export.folding import fold
from pipeline.heads.classifier import build_head
from pipeline.heads.presets import PRESETS
from pipeline.heads.registry import parse
from pipeline.swap import adapters
from pipeline.swap.answers import adapted
from pipeline.swap.merging import merge
from pipeline.swap.stage import swap
from pipeline.training import checkpoint
from tests.support.heads import SMALL
from tests.support.swapping import best_row, saved, the_adapter
from tests.support.world import DIM, FINGERPRINTS, NEW_DIM, World, contents

MERGED = ("average", "noisy_or")  # of the compared heads; max_fc cannot be


def merged(world):
    return merge(world.project, [("old", "new")], world.settings)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.train("old", *MERGED, "max_fc")
    swap(made.project, [("old", "new")], made.settings)
    return made


@pytest.fixture(scope="module")
def before(world) -> dict[str, bytes]:
    """Every file of the project before anything was merged."""
    return contents(world.project.root)


@pytest.fixture(scope="module")
def said(world, before) -> str:
    return merged(world)


@pytest.fixture
def copied(world, said, tmp_path) -> World:
    """The same project in a folder of its own, to change."""
    made = World(tmp_path)
    shutil.copytree(world.project.root, tmp_path, dirs_exist_ok=True)
    return made


def test_merging_writes_checkpoints_and_results_and_touches_nothing_else(world, before, said):
    after = contents(world.project.root)
    files = {
        "checkpoint": ("checkpoint.json", "history.csv", "seed-0.safetensors", "seed-1.safetensors"),
        "results": ("results.json", "sets.parquet", "values.parquet"),
    }
    wanted = {
        f"cache/merged/old/new/{head}/{folder}/{name}"
        for head in MERGED
        for folder, names in files.items()
        for name in names
    }
    assert after.keys() - before.keys() == wanted
    assert {name: after[name] for name in before} == before


def test_people_are_told_values_folders_and_obstacles(world, said):
    lines = said.splitlines()
    for head in MERGED:
        [line] = [line for line in lines if line.startswith(f"new {head} from old")]
        assert str(world.project.merged_results("old", "new", head)) in line
        _, _, micro_ap, _ = (float(word) for word in line.split()[4:-1])
        assert micro_ap == pytest.approx(best_row(saved(world), head)["micro_ap"]["adapted"]["value"], abs=2e-4)
    assert lines[-1] == "max_fc: not merged: it takes the largest number of each dimension"


@pytest.mark.parametrize("head", MERGED)
def test_merged_heads_answer_as_the_adapted_ones_do(world, said, head):
    data = world.data("new", "test")
    mapped = adapted(data, the_adapter(world))
    old, new = world.trained("old", head), checkpoint.load(world.project.merged_checkpoint("old", "new", head))
    assert new.thresholds == old.thresholds
    assert new.checkpoint.dim == NEW_DIM
    for apart, together in zip(old.scores(mapped), new.scores(data), strict=True):
        np.testing.assert_allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("head", MERGED)
def test_results_of_merged_heads_are_what_the_swap_promised(world, said, head):
    row = best_row(saved(world), head)
    values = results.read(world.project.merged_results("old", "new", head)).values().filter(by="all")
    for metric in ("micro_ap", "micro_f1"):
        scored = values.filter(metric=metric)
        assert scored["seed"].to_list() == [0, 1]
        assert scored["value"].mean() == pytest.approx(row[metric]["adapted"]["value"], abs=1e-4)


def test_a_head_that_cannot_be_merged_leaves_nothing(world, said):
    assert not (world.project.all_merged / "old/new/max_fc").exists()


def test_merged_heads_are_refused_for_other_vectors(world, said):
    head = checkpoint.load(world.project.merged_checkpoint("old", "new", "average"))
    store = Embeddings(world.project.store("old"))
    with pytest.raises(StoreError, match=r"trained on other embeddings .*weights: old one's, not new one's"):
        head.require(store, world.labelled())
    head.require(Embeddings(world.project.store("new")), world.labelled())


def test_merging_twice_gives_the_same_bytes(world, copied):
    shutil.rmtree(copied.project.all_merged)
    for _ in range(2):
        merged(copied)
        assert contents(copied.project.all_merged) == contents(world.project.all_merged)


def test_a_head_trained_anew_is_merged_anew(copied):
    first = contents(copied.project.all_merged)
    shutil.rmtree(copied.project.checkpoint("old", "average"))
    copied.train("old", "average", settings=copied.changed({"train.cycles": [3], "train.patience": 3}))
    merged(copied)
    changed = {name for name, content in contents(copied.project.all_merged).items() if content != first[name]}
    assert changed == {name for name in first if name.startswith("old/new/average/")}


def test_an_adapter_is_not_merged_for_another_backbone(copied):
    with pytest.raises(StageError, match="run visagg swap old noise"):
        merge(copied.project, [("old", "noise")], copied.settings)
    shutil.copy(copied.project.adapter("old", "new"), copied.project.adapter("old", "noise"))
    with pytest.raises(StoreError, match=r"other new vectors .weights: random, not new one's"):
        merge(copied.project, [("old", "noise")], copied.settings)


def test_heads_of_other_vectors_and_missing_ones_are_refused(copied):
    for head in MERGED:
        shutil.rmtree(copied.project.checkpoint("old", head))
        shutil.copytree(copied.project.merged_checkpoint("old", "new", head), copied.project.checkpoint("old", head))
    with pytest.raises(StoreError, match="weights: old one's, not new one's"):
        merged(copied)
    shutil.rmtree(copied.project.root / "cache/heads")
    with pytest.raises(StageError, match="no head is trained on old: run visagg train old HEAD"):
        merged(copied)


def test_where_no_head_can_be_merged_only_the_reasons_are_told(copied):
    settings = copied.changed({"compare.heads": ["max_fc"]})
    told = merge(copied.project, [("old", "new")], settings)
    assert told == "max_fc: not merged: it takes the largest number of each dimension"


def test_an_empty_list_of_swaps_leaves_an_empty_folder(tmp_path):
    world = World(tmp_path)
    assert merge(world.project, [], world.settings) == ""
    assert world.project.all_merged.is_dir()


def small(spec):
    """A head of the same parts with few numbers; the classifier's layers stay as many."""
    parts = spec.model_dump()
    return parse(parts | {name: size for name, size in {"hidden": 7, **SMALL}.items() if parts.get(name)})


@pytest.mark.parametrize("name", PRESETS)
def test_a_merged_head_is_adapter_and_head(name, world):
    """To 1e-5 of the logits' scale, with an adapter that was really fitted; the rest is refused in one line."""
    adapter = adapters.load(
        world.project.adapter("old", "new"),
        FINGERPRINTS["new"],
        FINGERPRINTS["old"],
        sets_digest=world.labelled().digest,
    )
    torch.default_generator.manual_seed(0)
    head = build_head(small(PRESETS[name]), DIM, 5).eval()
    if head.spec.standardised:
        head.standardise(torch.randn(DIM) + 3, torch.rand(DIM) + 0.5)
    matrix, offset = torch.from_numpy(adapter.matrix), torch.from_numpy(adapter.offset)
    if head.spec.obstacle() is not None:
        with pytest.raises(SettingsError, match="no adapter can be merged") as refused:
            fold(head, matrix, offset)
        assert "\n" not in str(refused.value)
        return
    vectors = torch.from_numpy(Embeddings(world.project.store("new")).read(np.arange(15)).astype(np.float32))
    x, mask = vectors.reshape(5, 3, NEW_DIM), torch.arange(3) < torch.tensor([[3], [1], [2], [3], [2]])
    with torch.inference_mode():
        together, apart = fold(head, matrix, offset)(x, mask), head(x @ matrix + offset, mask)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5 * max(1.0, float(apart.abs().max())))
