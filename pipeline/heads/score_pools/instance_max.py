"""The best image decides."""

import torch
from torch import Tensor

from pipeline.heads.masking import lowest
from pipeline.heads.score_pools.score_pool import ScorePool


class InstanceMax(ScorePool):
    """A set's score is its best image's: S. Andrews, I. Tsochantaridis and T. Hofmann, "Support vector machines for
    multiple-instance learning", NIPS 2002. No parameters. Departure: none but the classifier, here a network.

    The best image has the whole share of a label: the first one, of equals.
    """

    def __init__(self, dim: int, classes: int):
        super().__init__()

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        best, image = lowest(z, mask).max(1, keepdim=True)
        return best.squeeze(1), torch.zeros_like(z).scatter(1, image, 1.0)
