"""timm's models: built, given their weights, asked for their preprocessing. Importing timm takes seconds."""

import difflib
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import provenance
from pipeline.core.errors import SettingsError, WeightsError
from pipeline.embed.backbones import weights as files
from pipeline.images import Crop

if TYPE_CHECKING:
    from torch import nn

HUB_SECONDS = 10.0  # to wait for the hub's first answer
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_LIBRARIES: list = []  # what is defined in a torch.library.Library lives as long as it does


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

    @property
    def crop(self) -> Crop:
        """What is taken of an image; the shortest side is scaled to size / crop_pct pixels, rounded down as timm does.

        >>> Preprocessing(224, 0.875, "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).crop
        Crop(size=224, resize=256, interpolation='bicubic')
        """
        return Crop(self.size, math.floor(self.size / self.crop_pct), self.interpolation)


def load(model: str, weights: str) -> "tuple[nn.Module, Path | None]":
    """Builds a model, as `open_backbone` says.

    Returns:
        The model in evaluation mode, and the file that its weights are from; None where timm alone knows.
    """
    timm = import_timm()
    architecture = model.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), 3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise SettingsError(f"unknown backbone model {model!r}{meant} (timm.list_models() lists all)")
    if weights == "hub":
        net, file = _from_hub(model)
    else:
        file = files.find(weights)
        net = _build(model)
        files.fill(net, files.read(file), weights, by_order=weights.startswith("package:"))
    return net.eval().requires_grad_(False), file


def describe(net: "nn.Module", architecture: str) -> tuple[dict, int]:
    """A model's fingerprint, JSON values that say what its vectors are, and how many parameters it has.

    Raises:
        SettingsError: when its preprocessing is not a centred square of RGB.
    """
    import torch

    preprocessing = _preprocessing(net, architecture)
    with torch.inference_mode():  # timm's num_features is not the pooled dimension in MobileNetV3 and V4
        dim = net(torch.zeros(1, 3, preprocessing.size, preprocessing.size)).shape[1]
    state = ((name, tensor.numpy()) for name, tensor in net.state_dict().items())
    fingerprint = {
        "architecture": architecture,
        "weights": provenance.digest_tensors(state),
        "preprocessing": {**asdict(preprocessing), "mean": [*preprocessing.mean], "std": [*preprocessing.std]},
        "pooling": "input of the classifier",
        "dtype": "float16",
        "dim": dim,
    }
    return fingerprint, sum(p.numel() for p in net.parameters())


def licence(model: str) -> str:
    """The licence of a model's pretrained weights, as timm states it; "unknown" where it does not."""
    found = import_timm().models.get_pretrained_cfg(model)
    return str(getattr(found, "license", None) or "unknown")


def _build(model: str, pretrained: bool = False) -> "nn.Module":
    timm = import_timm()
    try:
        return timm.create_model(model, pretrained=pretrained, num_classes=0)
    except RuntimeError as error:
        if "Invalid pretrained tag" not in str(error):
            raise
        tags = ", ".join(timm.list_pretrained(f"{model.partition('.')[0]}.*"))
        raise SettingsError(f"unknown tag in backbone model {model!r}; timm has {tags or 'none'}") from None


def _from_hub(model: str) -> "tuple[nn.Module, Path | None]":
    import huggingface_hub

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are no news to a person
    if not _hub_answers():
        huggingface_hub.constants.HF_HUB_OFFLINE = True  # what was downloaded before loads; the rest fails at once
    try:
        net = _build(model, pretrained=True)
    except SettingsError:
        raise
    except Exception as error:  # the hub client raises of many kinds: connection, name lookup, permission, time-out
        raise WeightsError(
            f"the model hub did not give {model} ({type(error).__name__}): fetch its model.safetensors "
            "elsewhere and set this backbone's weights in params.yaml to that file"
        ) from None
    repository = files.timm_config(net)["hf_hub_id"] or ""
    paths = (huggingface_hub.try_to_load_from_cache(repository, name) for name in HUB_FILES)
    return net, next((Path(path) for path in paths if isinstance(path, str)), None)


def _hub_answers() -> bool:
    import huggingface_hub

    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # whatever the transport raises, there is no answer
        return False
    return True


def _preprocessing(net: "nn.Module", architecture: str) -> Preprocessing:
    config = import_timm().data.resolve_model_data_config(net)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width or config["crop_mode"] != "center":
        raise SettingsError(f"backbone {architecture}: only centred square crops of RGB images are supported")
    if config["interpolation"] not in ("bilinear", "bicubic"):
        raise SettingsError(f"backbone {architecture}: interpolation {config['interpolation']} is not supported")
    rounded = {name: tuple(float(value) for value in config[name]) for name in ("mean", "std")}
    return Preprocessing(height, float(config["crop_pct"]), config["interpolation"], **rounded)


def import_timm() -> Any:
    """timm, whose import takes seconds.

    It imports torchvision, whose wheel on the package index is linked against CUDA torch; beside a CPU torch its
    library does not load, and its import stops at the fake kernels it registers for two operators (pytorch/vision
    issues 9077, 9085). timm uses neither, so their signatures are enough.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        _LIBRARIES.append(library)
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm

    return timm
