"""Swapping backbones on synthetic vectors: what is kept is measured, heads are left alone, test images stay unseen."""

import csv
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pipeline import (
    adapters,
    batches,
    catalogue,
    embeddings,
    evaluate,
    layout,
    params,
    provenance,
    runs,
    scores,
    statistics,
    train,
)
from pipeline.errors import SettingsError, StageError, StoreError
from pipeline.heads import PRESETS, build_head, can_merge, resolve
from pipeline.swap import Side, merge, pairs, swap
from pipeline.swap.retention import retention
from pipeline.swap_tables import COLUMNS, write_tables
from tests.conftest import ROOT
from tests.test_heads import small_preset
from tests.test_pipeline import change, repro, start

KINDS, WIDTH, NEW_WIDTH, IMAGES = 4, 24, 30, 300
TEST_ONLY = np.arange(260, IMAGES)  # images that no training and no validation user shows
HEADS = ("average", "max_fc", "noisy_or")
SETTINGS = params.load(ROOT / "pipeline/params.yaml")
FAST = SETTINGS.train.model_copy(
    update={"seeds": [0, 1], "learning_rates": [1e-2], "batch_size": 16, "max_epochs": 8, "patience": 8}
)
FEW = SETTINGS.evaluate.model_copy(update={"ks": [2, 3], "resamples": 100})
IDENTITIES = {
    "old": {"width": WIDTH, "weights": "old one's"},
    "new": {"width": NEW_WIDTH, "weights": "new one's"},
    "noise": {"width": NEW_WIDTH, "weights": "random"},
}


class World:
    """Images of a few kinds seen by three backbones: the new one's vectors are a noisy map of the old one's."""

    def __init__(self, root: Path, poison: bool = False):
        self.root, generator = root, np.random.default_rng(0)
        kind = generator.integers(0, KINDS, IMAGES)
        old = generator.normal(size=(KINDS, WIDTH))[kind] * 1.5 + generator.normal(size=(IMAGES, WIDTH)) + 3
        new = old @ generator.normal(size=(WIDTH, NEW_WIDTH)) / 4 + generator.normal(size=(IMAGES, NEW_WIDTH)) + 1
        noise = generator.normal(size=(IMAGES, NEW_WIDTH))
        if poison:
            old[TEST_ONLY], new[TEST_ONLY] = 9 - old[TEST_ONLY], 50.0
        self.digests = np.stack([np.frombuffer(provenance.digest(b"%d" % i), np.uint8) for i in range(IMAGES)])
        for alias, vectors in (("old", old), ("new", new), ("noise", noise)):
            with embeddings.open_for_writing(self.store(alias), IDENTITIES[alias], 1000, self.digests) as store:
                store.write(np.arange(IMAGES), vectors)
        shown = [np.arange(220)] * 120 + [np.arange(200, 260)] * 40 + [np.arange(220, IMAGES)] * 60
        images = [sorted(generator.choice(own, generator.integers(1, 6), replace=False).tolist()) for own in shown]
        frame = {
            "set_id": [f"u{i:03d}" for i in range(220)],
            "images": images,
            "labels": [sorted(set(kind[own].tolist())) for own in images],
            "split": ["train"] * 120 + ["validation"] * 40 + ["test"] * 60,
        }
        self.sets, self.labels = root / "sets.parquet", root / "labels.json"
        catalogue.write_table(self.sets, pl.DataFrame(frame, schema=catalogue.SETS))
        catalogue.write_labels(self.labels, [f"kind {i}" for i in range(KINDS)], provenance.digest_images(self.digests))

    def store(self, alias: str) -> Path:
        return self.root / f"{alias}.h5"

    def side(self, alias: str) -> Side:
        return Side(alias, self.store(alias), {name: self.root / "heads" / alias / name for name in HEADS})

    def train(self, alias: str, *names: str) -> None:
        for name in names:
            spec = resolve(name)
            train.train(spec, self.store(alias), self.sets, self.labels, self.side(alias).heads[name], FAST)

    def swap(self, new: str = "new", old: str = "old") -> dict:
        swap(
            self.side(old),
            self.side(new),
            self.sets,
            self.labels,
            self.root / f"adapters/{old}/{new}.safetensors",
            self.root / f"figures/{old}/{new}.json",
            FEW,
        )
        return json.loads((self.root / f"figures/{old}/{new}.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.train("old", *HEADS)
    made.train("new", "average", "noisy_or")
    return made


@pytest.fixture(scope="module")
def before(world) -> dict[str, bytes]:
    return contents(world.root / "heads")


@pytest.fixture(scope="module")
def found(world, before) -> dict:
    return world.swap()


def test_the_heads_go_on_working_with_a_mapped_backbone(found):
    for name in ("average", "noisy_or"):
        head = found["heads"][name]
        best = next(
            row
            for row in head["adapted"]
            if row["adapter"] == found["best"] and row["pairs"] == found["training_images"]
        )
        assert best["micro_ap"]["retention"]["value"] > 0.95
        assert best["micro_ap"]["adapted"]["value"] > found["floor"]["micro_ap"]["value"] + 0.2
        low, high = best["micro_ap"]["retention"]["interval"]
        assert low <= best["micro_ap"]["retention"]["value"] <= high
        assert head["unadapted"] is None, "the widths differ"
        assert 0 <= best["negative_flips"]["value"] < 0.1 and best["overlap"]["value"] > 0.8
    low, high = found["heads"]["average"]["stay"]["micro_ap"]["interval"]
    assert low < high
    assert found["heads"]["max_fc"]["retrained"] is None
    assert found["heads"]["max_fc"]["adapted"][0]["micro_ap"]["retention"] is None
    assert found["heads"]["max_fc"]["obstacle"] == "it takes the largest number of each dimension"


def test_staying_and_retraining_are_what_evaluate_says(world, found, tmp_path):
    for alias, key in (("old", "stay"), ("new", "retrained")):
        side = world.side(alias)
        paths = (world.store(alias), world.sets, world.labels, tmp_path / alias, tmp_path / "scores" / alias)
        evaluate.evaluate([side.heads["noisy_or"]], *paths, FEW)
        saved = scores.figures(tmp_path / "scores" / alias / "noisy_or").filter(by="all")
        for name in ("micro_ap", "micro_f1"):
            rows = saved.filter(metric=name)
            wanted = statistics.estimate(np.column_stack([rows["value"], np.array(rows["samples"].to_list())]))
            own = found["heads"]["noisy_or"][key][name]
            assert own["value"] == pytest.approx(wanted.value, abs=2e-6)
            assert own["interval"] == pytest.approx([wanted.low, wanted.high], abs=1e-3)  # ties of float32


def test_figures_of_adapted_vectors_by_their_definitions(world, found):
    """From vectors mapped by hand, one seed after the other."""
    adapter = adapters.load(world.root / "adapters/old/new.safetensors", IDENTITIES["new"], IDENTITIES["old"])
    assert (adapter.kind, adapter.pairs) == (found["best"], found["training_images"])
    store, other = (embeddings.Embeddings(world.store(alias)) for alias in ("old", "new"))
    data = batches.load(world.sets, world.labels, store, "test")
    truth, folder = data.truth(), world.side("old").heads["noisy_or"]
    run = runs.load(folder)
    mapped = other.read(data.images.numpy()).astype(np.float64) @ adapter.matrix + adapter.offset
    flips, overlap = [], []
    for result in run.seeds:
        head = runs.load_head(folder, run, result.seed)
        x = torch.from_numpy(np.vstack([mapped, np.zeros((1, WIDTH))]).astype(np.float32))[data.rows]
        with torch.inference_mode():
            after = torch.sigmoid(head(x, data.mask)).numpy()
        own = batches.scores(head, data)
        right = (own >= result.threshold) == truth
        flips.append((right & ((after >= result.threshold) != truth)).mean())
        best = [set(np.argsort(-s, axis=1, kind="stable")[i, :2]) for i in range(len(own)) for s in (own, after)]
        overlap.append(np.mean([len(one & two) / 2 for one, two in zip(best[::2], best[1::2])]))
    rows = found["heads"]["noisy_or"]["adapted"]
    row = next(row for row in rows if (row["adapter"], row["pairs"]) == (found["best"], found["training_images"]))
    assert row["negative_flips"]["value"] == pytest.approx(np.mean(flips), abs=1e-6)
    assert row["overlap"]["value"] == pytest.approx(np.mean(overlap), abs=1e-6)
    kept, floor = row["micro_ap"], found["floor"]["micro_ap"]["value"]
    fresh = found["heads"]["noisy_or"]["retrained"]["micro_ap"]["value"]
    assert kept["retention"]["value"] == pytest.approx((kept["adapted"]["value"] - floor) / (fresh - floor), abs=1e-5)
    stay = found["heads"]["noisy_or"]["stay"]["micro_ap"]["value"]
    assert kept["gain"]["value"] == pytest.approx(kept["adapted"]["value"] - stay, abs=2e-6)


def test_retention_counts_from_the_floor():
    samples = [np.full(101, value) for value in (0.75, 0.8, 0.3)]
    assert retention(*samples) == {"value": 0.9, "interval": [0.9, 0.9]}
    assert retention(samples[0], samples[2], samples[2]) is None, "retraining is no better than popularity"


def test_more_pairs_and_every_kind(found):
    fitted = [(fit["adapter"], fit["pairs"]) for fit in found["adapters"]]
    everything = found["training_images"]
    assert fitted[:5] == [(kind, everything) for kind in list(adapters.KINDS)[:-1]]
    assert fitted[5:] == [(found["best"], 64)]
    assert found["refused"] == {"scaling": f"scaling needs equal widths, not {NEW_WIDTH} and {WIDTH}"}
    ridge = found["adapters"][0]
    assert ridge["images"] >= 30 and ridge["cosine"]["value"] > 0.8 and ridge["explained_variance"]["value"] > 0.6
    assert found["compared_on"].startswith("test users' images")


def test_no_head_file_is_touched(world, found, before):
    assert contents(world.root / "heads") == before


def test_twice_gives_the_same_bytes(world, found, before):
    first = contents(world.root / "figures") | contents(world.root / "adapters")
    world.swap()
    assert contents(world.root / "figures") | contents(world.root / "adapters") == first


def test_test_images_are_never_fitted_or_chosen_with(world, found, tmp_path):
    poisoned = World(tmp_path, poison=True)
    for alias in ("old", "new"):
        (tmp_path / "heads").mkdir(exist_ok=True)
        (tmp_path / "heads" / alias).symlink_to(world.root / "heads" / alias)
    figures = poisoned.swap()
    path = "adapters/old/new.safetensors"
    assert (tmp_path / path).read_bytes() == (world.root / path).read_bytes()
    assert figures["heads"]["noisy_or"]["stay"] != found["heads"]["noisy_or"]["stay"], "the poison is to be seen"


def test_pairs_are_nested_and_the_same_whoever_asks(world):
    stores = pairs.Stores(*(embeddings.Embeddings(world.store(alias)) for alias in ("old", "new")))
    sets = catalogue.read_table(world.sets)
    rows = stores.training_rows(sets)
    shown = sorted({image for own in sets.filter(pl.col("split") == "train")["images"] for image in own})
    assert sorted(shown, key=lambda row: world.digests[row].tobytes()) == list(rows)


def with_images(path, split, images):
    """The sets of a file, those of one split all showing the same images."""
    shown = pl.lit(images, pl.List(pl.UInt32))
    return catalogue.read_table(path).with_columns(
        images=pl.when(pl.col("split") == split).then(shown).otherwise("images")
    )


def test_where_test_users_show_nothing_new_the_held_out_tenth_is_compared(world, tmp_path):
    sets = with_images(world.sets, "test", [5, 7, 11])
    other = World(tmp_path)
    catalogue.write_table(other.sets, sets)
    (tmp_path / "heads").symlink_to(world.root / "heads")
    figures = other.swap()
    assert figures["compared_on"] == "the held-out tenth of the pairs"
    assert [fit["images"] for fit in figures["adapters"]] == [figures["training_images"] // 10] * 5 + [6]
    stores = pairs.Stores(*(embeddings.Embeddings(world.store(alias)) for alias in ("old", "new")))
    fitted = pairs.fit(stores, stores.training_rows(sets), ["ridge"], "test")
    close = pairs.closeness(stores, fitted.held, fitted.fits["ridge"].trial, fitted.whole)
    wanted = 1 - close["error"].sum() / close["total"].sum()
    assert figures["adapters"][0]["explained_variance"]["value"] == pytest.approx(wanted, abs=1e-5)


def test_random_weights_are_refused_and_not_served(world, found):
    with pytest.raises(StageError, match="noise cannot stand in for old: adapted by ridge from") as refused:
        world.swap("noise")
    assert "\n" not in str(refused.value)
    assert not (world.root / "figures/old/noise.json").exists()
    assert not (world.root / "adapters/old/noise.safetensors").exists()


def test_another_catalogue_is_refused(world, tmp_path):
    other = World(tmp_path)
    other.store("new").unlink()
    with embeddings.open_for_writing(other.store("new"), IDENTITIES["new"], 1, world.digests[::-1].copy()) as store:
        store.write(np.arange(IMAGES), np.ones((IMAGES, NEW_WIDTH)))
    with pytest.raises(StoreError, match="holds other images than the sets: run visagg embed new again"):
        other.swap()


def test_heads_of_other_vectors_and_missing_ones_are_refused(world, tmp_path):
    other = World(tmp_path)
    with pytest.raises(StageError, match="no head is trained on old: run visagg train old HEAD"):
        other.swap()
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads/old").symlink_to(world.root / "heads/new")
    with pytest.raises(StoreError, match="weights: old one's, not new one's"):
        other.swap()


def test_too_few_pairs_are_refused(world, tmp_path):
    other = World(tmp_path)
    catalogue.write_table(other.sets, with_images(other.sets, "train", [1, 2, 3]))
    (tmp_path / "heads").symlink_to(world.root / "heads")
    with pytest.raises(StageError, match="old and new share 3 training images, and an adapter takes 20"):
        other.swap()


def test_images_that_one_backbone_could_not_read_are_left_out_of_both(world, found, tmp_path):
    other = World(tmp_path)
    other.store("new").unlink()
    vectors = embeddings.Embeddings(world.store("new"))
    bad = np.array([3, 270])
    good = np.setdiff1d(np.arange(IMAGES), bad)
    with embeddings.open_for_writing(other.store("new"), IDENTITIES["new"], 1000, other.digests) as store:
        store.write(good, vectors.read(good))
        store.write_unreadable(bad)
    (tmp_path / "heads").symlink_to(world.root / "heads")
    figures = other.swap()
    assert figures["training_images"] == found["training_images"] - 1 and set(figures["heads"]) == set(HEADS)


def folder(world, name):
    return world.root / "merged" / f"{name}_from_old"


def test_merged_heads_are_saved_and_scored_like_any_head(world, found, before, tmp_path):
    said = merge(
        world.side("old"), world.side("new"), world.root / "adapters/old/new.safetensors", partial(folder, world)
    )
    assert said == {"average": None, "noisy_or": None, "max_fc": "it takes the largest number of each dimension"}
    assert not folder(world, "max_fc").exists() and contents(world.root / "heads") == before
    for name in ("average", "noisy_or"):
        paths = (world.store("new"), world.sets, world.labels, tmp_path / "metrics", tmp_path / "scores")
        evaluate.evaluate([folder(world, name)], *paths, FEW)
        scored = json.loads((tmp_path / f"metrics/{folder(world, name).name}.json").read_text())
        rows = found["heads"][name]["adapted"]
        row = next(row for row in rows if (row["adapter"], row["pairs"]) == (found["best"], found["training_images"]))
        for metric in ("micro_ap", "micro_f1"):
            assert scored[metric] == pytest.approx(row[metric]["adapted"]["value"], abs=1e-4)
        with pytest.raises(StoreError, match="trained on other embeddings"):
            runs.require_identity(folder(world, name), runs.load(folder(world, name)), IDENTITIES["old"])


def test_an_adapter_is_not_merged_for_another_backbone(world, found):
    with pytest.raises(StoreError, match="other new vectors .weights: random, not new one's"):
        merge(
            world.side("old"), world.side("noise"), world.root / "adapters/old/new.safetensors", partial(folder, world)
        )
    with pytest.raises(StageError, match="run visagg swap old noise"):
        merge(
            world.side("old"),
            world.side("noise"),
            world.root / "adapters/old/noise.safetensors",
            partial(folder, world),
        )


@pytest.mark.parametrize("name", PRESETS)
def test_a_merged_head_is_adapter_and_head(name, world, found):
    """To 1e-5 of the logits' scale, with an adapter that was really fitted; the others are refused in one line."""
    adapter = adapters.load(world.root / "adapters/old/new.safetensors", IDENTITIES["new"], IDENTITIES["old"])
    torch.default_generator.manual_seed(0)
    head = build_head(small_preset(PRESETS[name]), WIDTH, 5).eval()
    if head.spec.standardised:
        head.standardise(torch.randn(WIDTH) + 3, torch.rand(WIDTH) + 0.5)
    matrix, offset = torch.from_numpy(adapter.matrix), torch.from_numpy(adapter.offset)
    if not can_merge(head.spec):
        with pytest.raises(SettingsError, match="no adapter can be merged") as refused:
            head.fold(matrix, offset)
        assert "\n" not in str(refused.value)
        return
    vectors = torch.from_numpy(embeddings.Embeddings(world.store("new")).read(np.arange(15)).astype(np.float32))
    x, mask = vectors.reshape(5, 3, NEW_WIDTH), torch.arange(3) < torch.tensor([[3], [1], [2], [3], [2]])
    with torch.inference_mode():
        merged, apart = head.fold(matrix, offset)(x, mask), head(x @ matrix + offset, mask)
    torch.testing.assert_close(merged, apart, rtol=0, atol=1e-5 * max(1.0, float(apart.abs().max())))


def test_the_tables(world, found, tmp_path):
    (tmp_path / "data.json").write_text(json.dumps({"source": "demo", "simulated": True}))
    write_tables(world.root / "figures", tmp_path / "data.json", tmp_path)
    rows = list(csv.reader((tmp_path / "swap.csv").open()))
    assert rows[0][:12] == COLUMNS
    named = "old new head adapter pairs metric stay adapted unadapted retrained floor retention"
    assert named.split() == COLUMNS
    assert len(rows) == 1 + len(HEADS) * 6 * 2 and {len(row) for row in rows} == {len(rows[0])}
    own = dict(
        zip(
            rows[0],
            next(
                row
                for row in rows
                if row[2:6] == ["noisy_or", found["best"], str(found["training_images"]), "micro_ap"]
            ),
        )
    )
    row = next(row for row in found["heads"]["noisy_or"]["adapted"] if row["adapter"] == found["best"])
    assert float(own["retention"]) == row["micro_ap"]["retention"]["value"]
    assert float(own["adapted high"]) == row["micro_ap"]["adapted"]["interval"][1]
    assert float(own["gain low"]) == row["micro_ap"]["gain"]["interval"][0]
    assert own["unadapted"] == "" and own["chosen"] == "yes" and own["merges"] == "yes"
    page = (tmp_path / "swap.md").read_text()
    for words in ("**Simulated**", "## old to new", "Is it wise?", "What it costs: 300 images", "not fitted: scaling"):
        assert words in page
    first = page, (tmp_path / "swap.csv").read_bytes()
    write_tables(world.root / "figures", tmp_path / "data.json", tmp_path)
    assert first == ((tmp_path / "swap.md").read_text(), (tmp_path / "swap.csv").read_bytes())
    write_tables(tmp_path / "nothing", tmp_path / "data.json", tmp_path)
    assert not (tmp_path / "swap.md").exists() and not (tmp_path / "swap.csv").exists()


@pytest.mark.parametrize(
    ("gain", "word"), [((0.01, 0.03), "better"), ((-0.03, -0.01), "worse"), ((-0.01, 0.01), "no difference seen")]
)
def test_adapting_is_better_only_where_the_interval_says_so(world, found, tmp_path, gain, word):
    changed = json.loads(json.dumps(found))
    for row in changed["heads"]["average"]["adapted"]:
        row["micro_ap"]["gain"]["interval"] = list(gain)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/new.json").write_text(json.dumps(changed))
    write_tables(tmp_path, tmp_path / "none.json", tmp_path)
    table = [line for line in (tmp_path / "swap.md").read_text().splitlines() if line.startswith("| average |")]
    assert f"| {word} |" in table[0]


def test_the_graph_swaps_without_training_and_leaves_heads_alone(world, own_project):
    """dvc repro of the stage alone, on the same vectors under the names that the settings have."""
    shutil.copy(ROOT / ".dvcignore", own_project)
    for old, new in (("old", "lite0"), ("new", "lite1")):
        (own_project / "cache/embeddings").mkdir(parents=True, exist_ok=True)
        shutil.copy(world.store(old), own_project / layout.store(new))
        for name in ("average", "noisy_or"):
            shutil.copytree(world.side(old).heads[name], own_project / layout.head(new, name))
    for path, own in ((layout.SETS, world.sets), (layout.LABELS, world.labels)):
        shutil.copy(own, own_project / path)
    (own_project / "reports").mkdir()
    (own_project / layout.DATA_REPORT).write_text(json.dumps({"source": "demo", "simulated": True}))
    change(own_project, ("resamples: 500", "resamples: 100"))
    start(own_project)
    before = contents(own_project / "cache/heads")
    assert repro(own_project, "-s", "swap") == ["swap"]
    assert contents(own_project / "cache/heads") == before
    assert (own_project / layout.adapter("lite0", "lite1")).is_file()
    first = (own_project / "reports/tables/swap.csv").read_bytes()
    assert b"\nlite0,lite1,noisy_or," in first
    (own_project / "cache/embeddings/.lite1.h5.lock").write_text("process 1 on a host")
    assert repro(own_project, "-s", "swap") == [], "a lock is nothing that a result depends on"
    command = [sys.executable, "-m", "pipeline", "swap"]
    for words, status, said in (
        (["lite0", "lite1", "--merge"], 0, "noisy_or: cache/heads/lite1/noisy_or_from_lite0"),
        (["lite0", "lite0"], 2, "lite0 cannot be swapped for itself"),
        (["lite0", "lite2"], 1, "lite2.h5 is missing: run visagg embed lite2"),
    ):
        done = subprocess.run([*command, *words], cwd=own_project, capture_output=True, text=True)
        assert done.returncode == status and said in done.stdout + done.stderr, done.stderr
        assert status == 0 or len(done.stderr.strip().splitlines()) == 1
    assert (own_project / "reports/tables/swap.csv").read_bytes() == first
    done = subprocess.run([*command[:-1], "evaluate", "lite1", "noisy_or_from_lite0"], cwd=own_project)
    assert done.returncode == 0 and (own_project / layout.metrics("lite1") / "noisy_or_from_lite0.json").is_file()
