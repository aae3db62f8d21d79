"""A smooth maximum of the images' scores."""

import torch
from torch import Tensor

from pipeline.heads.masking import lowest
from pipeline.heads.score_pools.score_pool import ScorePool


class LogSumExp(ScorePool):
    """log of the sum of exp(z(m)), after P. Pinheiro and R. Collobert, "From image-level to pixel-level labeling with
    convolutional networks", CVPR 2015. No parameters.

    Departure: the sum, not the mean, so that the score grows with every image in favour and images against do not lower
    it; sharpness 1, which LogSumExpSharp learns.
    """

    def __init__(self, dim: int, classes: int):
        super().__init__()

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        z = lowest(z, mask)
        return torch.logsumexp(z, 1), torch.softmax(z, 1)
