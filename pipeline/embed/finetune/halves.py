"""A timm model cut in two before its last blocks: what stays as it is, and what is trained."""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.core.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.embed.backbones.models import Preprocessing

PARTS = ("conv_stem", "bn1", "blocks")  # of MobileNets and EfficientNets, as timm names them


class Trunk(nn.Module):
    """The blocks that stay: normalised images [b, 3, size, size] to activations [b, f], flat for an engine."""

    def __init__(self, net: nn.Module, kept: int):
        super().__init__()
        self.layers = nn.Sequential(net.conv_stem, net.bn1, *net.blocks[:kept])  # type: ignore[arg-type, index]

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten(1)


class Rest(nn.Module):
    """The blocks that are trained, up to the vector: activations [b, f] to [b, d]. It shares the model's parameters.

    Batch normalisation stays as it was: its statistics are of many more images than a catalogue's.
    """

    def __init__(self, net: nn.Module, kept: int, shape: tuple[int, ...]):
        super().__init__()
        rest = copy.copy(net)
        rest._modules = dict(net._modules)
        rest.conv_stem, rest.bn1, rest.blocks = nn.Identity(), nn.Identity(), net.blocks[kept:]  # type: ignore[index]
        self.net, self.shape = rest, shape
        for module in self.net.modules():
            frozen = isinstance(module, nn.modules.batchnorm._BatchNorm)
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(not frozen)

    def forward(self, activations: Tensor) -> Tensor:
        shaped = activations.view(-1, *self.shape).to(memory_format=torch.channels_last)
        return self.net(shaped)

    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: parameter for name, parameter in self.net.named_parameters() if parameter.requires_grad}


def halves(net: nn.Module, blocks: int, preprocessing: "Preprocessing") -> tuple[Trunk, Rest]:
    """Cuts a model before its last `blocks` blocks.

    Raises:
        SettingsError: when it has no such blocks, or fewer.
    """
    if missing := [part for part in PARTS if not hasattr(net, part)]:
        raise SettingsError(f"finetune: {type(net).__name__} has no {missing[0]}, and only models of blocks can be cut")
    count = len(net.blocks)  # type: ignore[arg-type]
    if not 0 < blocks < count:
        raise SettingsError(f"finetune.blocks: {blocks}, but the model has {count} blocks, and the first one stays")
    trunk = Trunk(net, count - blocks).eval()
    with torch.inference_mode():
        shape = trunk.layers(torch.zeros(1, 3, preprocessing.size, preprocessing.size)).shape[1:]
    return trunk, Rest(net, count - blocks, tuple(shape)).eval()
