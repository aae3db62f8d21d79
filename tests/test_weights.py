"""Weights as people have them: checkpoints of training are read, and what is none is refused with what to do."""

import argparse

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.core.errors import SettingsError, WeightsError
from pipeline.embed.backbones import models, weights


class Net(nn.Sequential):
    """A model as timm makes them, whose classifier was taken away."""

    pretrained_cfg: dict = {"classifier": "head"}  # noqa: RUF012


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4))


@pytest.fixture
def state(net):
    """What a checkpoint of the model holds: other numbers than the model's own, and a classifier."""
    other = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    return {**other, "head.weight": torch.ones(2, 4)}


def under(key):
    return lambda state: {"epoch": 3, "best": 0.5, key: state}


def prefixed(prefix):
    return lambda state: {f"{prefix}{name}": tensor for name, tensor in state.items()}


CHECKPOINTS = {
    "bare": lambda state: state,
    "state_dict": under("state_dict"),
    "model": under("model"),
    "averaged": lambda state: {**under("state_dict")(prefixed("old.")(state)), "state_dict_ema": state},
    "parallel": prefixed("module."),
    "compiled and parallel": prefixed("module._orig_mod."),
    "parallel and compiled": prefixed("_orig_mod.module."),
    "of timm's script": lambda state: {
        **under("state_dict")(prefixed("module.")(state)),
        "args": argparse.Namespace(lr=1),
    },
}


@pytest.mark.parametrize("made", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_of_training_is_read(tmp_path, net, state, made):
    torch.save(made(state), tmp_path / "w.pth")
    weights.fill(net, weights.read(tmp_path / "w.pth"), "w.pth", by_order=False)
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def refusal(path, net):
    with pytest.raises(WeightsError) as refused:
        weights.fill(net, weights.read(path), str(path), by_order=False)
    line = str(refused.value)
    assert line.isprintable() and str(path) in line
    return line


def test_a_whole_pickled_model_is_not_opened_and_its_owner_told_what_to_do(tmp_path, net):
    torch.save(net, tmp_path / "w.pth")
    line = refusal(tmp_path / "w.pth", net)
    assert "a whole pickled model, and opening that would run code" in line and "save its state_dict()" in line


@pytest.mark.parametrize(("suffix", "share"), [(".pth", 0.5), (".safetensors", 0.5), (".safetensors", 0.02)])
def test_a_file_that_was_cut_short_is_to_be_got_again(tmp_path, net, state, suffix, share):
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    line = refusal(path, net)
    assert "cut short: get it again" in line


def test_a_suffix_of_the_other_kind_is_named(tmp_path, net, state):
    torch.save(state, tmp_path / "w.safetensors")
    save_file(state, tmp_path / "w.pth")
    assert "give its name the suffix .pth" in refusal(tmp_path / "w.safetensors", net)
    assert "give its name the suffix .safetensors" in refusal(tmp_path / "w.pth", net)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("0.weight"), "0.weight is missing in the file, [4, 3, 2, 2] in the model: in params"),
        (lambda state: state.update({"0.weight": torch.ones(4)}), "0.weight is [4] in the file, [4, 3, 2, 2] in the"),
        (lambda state: state.update({"1.more": torch.ones(4)}), "1.more is [4] in the file, not in the model: in par"),
        (lambda state: [state.pop(name) for name in ("0.weight", "0.bias")], "and so is 1 more: in params.yaml, set"),
    ],
    ids=["missing", "shape", "unknown", "several"],
)
def test_weights_of_another_model_say_what_differs_and_what_to_set(tmp_path, net, state, change, said):
    change(state)
    torch.save(state, tmp_path / "w.pth")
    line = refusal(tmp_path / "w.pth", net)
    assert said in line and "set this backbone's model to the one whose weights these are" in line


@pytest.mark.parametrize(
    ("name", "meant"), [("mobilenetv3_smal_050", "mobilenetv3_small_050"), ("efficientnetlite0", "efficientnet_lite0")]
)
def test_a_misspelt_model_is_told_the_nearest(name, meant):
    with pytest.raises(SettingsError, match=rf"unknown backbone model '{name}'; did you mean {meant} or "):
        models.load(name, "hub")
