"""A smooth maximum of the images' scores whose sharpness each label learns."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.heads.masking import lowest
from pipeline.heads.score_pools.score_pool import ScorePool


class LogSumExpSharp(ScorePool):
    """(1 / r(c)) log of the sum of exp(r(c) z(m, c)), after P. Pinheiro and R. Collobert, "From image-level to
    pixel-level labeling with convolutional networks", CVPR 2015. c parameters.

    Departure: the sum, not the mean (LogSumExp says why); r is learnt, one for each label, as the softplus of a number,
    and starts at 1. The larger it is, the more the best image decides alone.
    """

    def __init__(self, dim: int, classes: int):
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((classes,), math.log(math.e - 1)))

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        sharpness = F.softplus(self.sharpness)
        z = lowest(z * sharpness, mask)
        return torch.logsumexp(z, 1) / sharpness, torch.softmax(z, 1)
