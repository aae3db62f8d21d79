"""A smooth maximum of the images' scores."""

from typing import Literal

from pipeline.heads.layers.masking import fill_with_lowest
from pipeline.heads.layers.score_pool import ScorePool
from pipeline.heads.lazy import Module, Tensor, torch
from pipeline.heads.spec import ScorePoolSpec


class LogSumExpSpec(ScorePoolSpec):
    """The head of LogSumExp."""

    pool: Literal["logsumexp"] = "logsumexp"

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return LogSumExp()


class LogSumExp(ScorePool):
    """log of the sum of exp(z(m)), after P. Pinheiro and R. Collobert, "From image-level to pixel-level labeling with
    convolutional networks", CVPR 2015. No parameters.

    Departure: the sum, not the mean, so that the score grows with every image in favour and images against do not lower
    it; sharpness 1, which LogSumExpSharp learns.
    """

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        z = fill_with_lowest(z, mask)
        return torch.logsumexp(z, 1), torch.softmax(z, 1)
