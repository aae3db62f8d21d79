"""A smooth maximum of the images' scores whose sharpness each label learns."""

import math
from typing import Literal

from pipeline.heads.layers.masking import fill_with_lowest
from pipeline.heads.layers.score_pool import ScorePool
from pipeline.heads.lazy import F, Module, Tensor, nn, torch
from pipeline.heads.spec import ScorePoolSpec


class LogSumExpSharpSpec(ScorePoolSpec):
    """The head of LogSumExpSharp."""

    pool: Literal["logsumexp_sharp"] = "logsumexp_sharp"

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return classes

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return LogSumExpSharp(classes)


class LogSumExpSharp(ScorePool):
    """(1 / r(c)) log of the sum of exp(r(c) z(m, c)), after P. Pinheiro and R. Collobert, "From image-level to
    pixel-level labeling with convolutional networks", CVPR 2015. c parameters.

    Departure: the sum, not the mean (LogSumExp says why); r is learnt, one for each label, as the softplus of a number,
    and starts at 1. The larger it is, the more the best image decides alone.
    """

    def __init__(self, classes: int):
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((classes,), math.log(math.e - 1)))

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        sharpness = F.softplus(self.sharpness)
        z = fill_with_lowest(z * sharpness, mask)
        return torch.logsumexp(z, 1) / sharpness, torch.softmax(z, 1)
