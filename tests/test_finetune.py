"""A backbone's last blocks trained on the categories of single images: which ones, and what an interruption costs."""

import io
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.torch import load_file

from pipeline.catalogue.images import Images
from pipeline.catalogue.labelled_sets import IMAGE_LABELS, SETS
from pipeline.core.errors import SettingsError, StageError
from pipeline.core.progress import Notes
from pipeline.embed.backbones.backbone import open_backbone
from pipeline.embed.finetune import activations, stage
from pipeline.embed.finetune.examples import load_examples
from pipeline.embed.finetune.stage import finetune
from pipeline.embed.finetune.views import views
from pipeline.embed.stage import embed
from pipeline.embeddings.store import Embeddings
from pipeline.images import Crop, resize_crop
from pipeline.project import Project
from pipeline.settings.settings import Settings
from tests.support.backbones import SMALL
from tests.support.images import bank
from tests.support.labelled import write_sets
from tests.support.settings import make_settings
from tests.support.world import contents

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
TRAIN, SHARED, VALIDATION, TEST = range(24), range(24, 27), range(27, 36), range(36, 42)


def picture(row: int) -> bytes:
    """A picture in the colour of its kind, another one in each row; row 5 is none."""
    if row == 5:
        return b"no picture"
    rng = np.random.default_rng(row)
    pixels = np.clip(np.array(KINDS[row % 3]) + rng.normal(0, 40, (40, 32, 3)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """Images of three kinds; some are shown by users of two splits."""
    monkeypatch.chdir(tmp_path)
    project = Project()
    digest = bank(project.images, [*map(picture, range(42))]).digest()
    shown = {"train": (*TRAIN, *SHARED), "validation": (*VALIDATION, 24), "test": (*TEST, 25, 26, 27)}
    sets = [(f"{split} {row}", [row], [row % 3], split) for split, rows in shown.items() for row in rows]
    write_sets(
        project,
        frame=pl.DataFrame(sets, SETS, orient="row"),
        labels=["red", "green", "blue"],
        images_digest=digest,
        image_labels=pl.DataFrame([(row, [row % 3]) for row in range(42)], IMAGE_LABELS, orient="row"),
    )
    return project


@pytest.fixture
def settings(small_weights):
    """Settings by which `tuned` is made of `small`, with some changes."""

    def with_changes(**changes: object) -> Settings:
        return make_settings(
            {
                "backbones": {
                    "small": {"model": SMALL, "weights": str(small_weights)},
                    "tuned": {"finetune": "small", "seed": 0},
                },
                "compare.backbones": ["small", "tuned"],
                "ablation.backbone": "small",
                "swap": {},
                "embed.engine": "torch",
                "embed.precision": "float32",
                "finetune": {"blocks": 2, "learning_rate": 3e-3, "epochs": 3, "patience": 3, "views": 2, **changes},
            }
        )

    return with_changes


def test_it_trains_the_last_blocks_alone_and_stage_one_reads_what_it_made(project, settings, small_weights):
    finetune(project, "tuned", settings())
    before, after = load_file(small_weights), load_file(project.finetuned_weights("tuned"))
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    base = open_backbone(SMALL, str(small_weights)).model
    last = {f"blocks.{len(base.blocks) - 2}", f"blocks.{len(base.blocks) - 1}"}
    assert {".".join(name.split(".")[:2]) for name in changed if name.startswith("blocks.")} == last
    assert not [name for name in changed if "bn" in name or "running" in name]
    assert changed and not [name for name in changed if name.startswith(("conv_stem", "bn1"))]
    embed(project, settings().backbones_of(["small", "tuned"]), settings().embed)
    small, tuned = (Embeddings(project.store(name)) for name in ("small", "tuned"))
    assert small.fingerprint["weights"] != tuned.fingerprint["weights"]
    assert not np.allclose(small.read(np.array([0])), tuned.read(np.array([0])))
    assert not project.finetuning("tuned").exists()


def test_no_image_that_another_split_shows_trains(project):
    train, validation = load_examples(project, Images(project.images))
    assert train.rows.tolist() == [*TRAIN]
    assert validation.rows.tolist() == [24, *[row for row in VALIDATION if row != 27]]
    assert np.flatnonzero(train.labels[4]).tolist() == [1]


def test_where_users_share_all_images_it_says_what_to_set(project):
    frame = pl.DataFrame([(s, [1], [1], s) for s in ("train", "validation", "test")], SETS, orient="row")
    write_sets(project, frame=frame, labels=["a", "b"], images_digest=Images(project.images).digest())
    with pytest.raises(StageError, match=r"of 1 training images, 0 are shown by no .*sets.new_items to 0.4"):
        load_examples(project, Images(project.images))


class Stopped(Notes):
    """Ends the run when it says something, as Ctrl-C would."""

    def __init__(self, word: str):
        super().__init__()
        self.word = word

    def say(self, line: str) -> None:
        super().say(line)
        if self.word in line:
            raise KeyboardInterrupt


@pytest.mark.parametrize("word", ["epoch 1 of", "epoch 3 of"])
def test_after_an_interruption_it_goes_on_to_the_same_bytes(project, settings, word):
    finetune(project, "tuned", settings())
    expected = contents(project.finetuned("tuned"))
    project.finetuned_weights("tuned").unlink()
    with pytest.raises(KeyboardInterrupt):
        finetune(project, "tuned", settings(), console=Stopped(word))
    notes = Notes()
    finetune(project, "tuned", settings(), console=notes)
    assert f"finetune: goes on after epoch {word.split()[1]}" in notes.lines
    assert contents(project.finetuned("tuned")) == expected


def test_images_that_are_through_are_not_computed_again(project, settings, monkeypatch):
    monkeypatch.setattr(activations, "GROUPS_A_STEP", 1)
    seen, whole = [], activations.Task.of_group

    def of_group(task, engine, crop, rows):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(rows.tolist())
        return whole(task, engine, crop, rows)

    monkeypatch.setattr(activations.Task, "of_group", of_group)
    with pytest.raises(KeyboardInterrupt):
        finetune(project, "tuned", settings())
    first = [row for rows in seen for row in rows]
    assert 0 < len(first) < len(TRAIN)
    again = []
    monkeypatch.setattr(
        activations.Task, "of_group", lambda t, e, c, rows: again.append(rows.tolist()) or whole(t, e, c, rows)
    )
    finetune(project, "tuned", settings())
    assert sorted(first + [row for rows in again for row in rows])[: len(TRAIN)] == [*TRAIN]
    interrupted = project.finetuned_weights("tuned").read_bytes()
    project.finetuned_weights("tuned").unlink()
    finetune(project, "tuned", settings())
    assert project.finetuned_weights("tuned").read_bytes() == interrupted


def test_what_is_finished_stays_and_another_setting_makes_it_anew(project, settings):
    finetune(project, "tuned", settings())
    path, notes = project.finetuned_weights("tuned"), Notes()
    first, made = path.read_bytes(), path.stat().st_ino
    finetune(project, "tuned", settings(), console=notes)
    assert notes.lines == ["finetune: tuned is up to date"] and path.stat().st_ino == made
    finetune(project, "tuned", settings(learning_rate=1e-3))
    assert path.read_bytes() != first


def test_a_run_that_was_killed_behind_its_last_write_leaves_nothing(project, settings, monkeypatch):
    whole = stage.remove
    monkeypatch.setattr(stage, "remove", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        finetune(project, "tuned", settings(epochs=1))
    aside = project.finetuned("tuned").with_name(".tuned.0123abcd.partial")
    aside.mkdir()
    assert project.finetuning("tuned").exists()
    monkeypatch.setattr(stage, "remove", whole)
    finetune(project, "tuned", settings(epochs=1))
    assert not project.finetuning("tuned").exists() and not aside.exists()


def test_half_a_state_is_no_state(project, settings):
    with pytest.raises(KeyboardInterrupt):
        finetune(project, "tuned", settings(), console=Stopped("epoch 2 of"))
    state = project.finetuning("tuned") / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    notes = Notes()
    finetune(project, "tuned", settings(), console=notes)
    assert not [line for line in notes.lines if "goes on" in line]
    assert [line[:24] for line in notes.lines if "epoch 1 of 3" in line]


def test_a_backbone_that_is_used_as_it_is_gets_a_record_that_is_the_same_each_time(project, settings):
    finetune(project, "small", settings())
    (record,) = project.finetuned("small").iterdir()
    first = record.read_bytes()
    finetune(project, "small", settings())
    assert record.read_bytes() == first and not project.finetuned_weights("small").exists()


def test_stage_one_refuses_weights_that_are_missing_or_damaged(project, settings):
    chosen = settings().backbones_of(["tuned"])
    with pytest.raises(StageError, match=r"finetuned.json is missing: run visagg finetune tuned, or dvc repro"):
        embed(project, chosen, settings().embed)
    finetune(project, "tuned", settings(epochs=1))
    path = project.finetuned_weights("tuned")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StageError, match=r"backbone.safetensors is damaged .*: run visagg finetune tuned"):
        embed(project, chosen, settings().embed)


def test_a_loss_that_is_not_finite_ends_it(project, settings):
    with pytest.raises(StageError, match=r"not finite: set a lower finetune.learning_rate"):
        finetune(project, "tuned", settings(learning_rate=1e3, epochs=30, patience=30))
    assert not project.finetuned("tuned").exists()


def test_a_model_is_cut_only_where_it_has_blocks(project, settings):
    with pytest.raises(SettingsError, match=r"finetune.blocks: 6, but the model has 6 blocks, and the first one stays"):
        finetune(project, "tuned", settings(blocks=6))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"finetune": "small", "model": "x"},
            r"backbones.other: name a model and its weights, or another backbone to finetune",
        ),
        ({"model": "x"}, r"backbones.other: name a model and its weights, or another backbone to finetune"),
        ({"finetune": "smal"}, r"unknown backbone 'smal'; did you mean small\?"),
        ({"finetune": "tuned"}, r"tuned is itself fine-tuned"),
        ({"finetune": "other"}, r"other is itself fine-tuned"),
    ],
)
def test_what_is_declared_wrongly_is_refused(declared, message):
    small = {"model": SMALL, "weights": "w.pth"}
    backbones = {"small": small, "tuned": {"finetune": "small"}, "other": declared}
    with pytest.raises(SettingsError, match=message):
        make_settings(
            {"backbones": backbones, "compare.backbones": ["small"], "ablation.backbone": "small", "swap": {}}
        )


def test_views_are_stage_one_s_and_random_ones_that_are_the_same_each_time():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    crop = Crop(24, 28, "bicubic")
    seen = views(pixels, crop, 4, seed=(1, 2))
    assert np.array_equal(seen[0], resize_crop(pixels, crop))
    assert np.array_equal(seen, views(pixels, crop, 4, seed=(1, 2)))
    assert len({view.tobytes() for view in (*seen, *views(pixels, crop, 4, seed=(1, 3))[1:])}) == 7
