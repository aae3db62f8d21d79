"""The best image decides."""

from typing import Literal

from pipeline.heads.layers.masking import fill_with_lowest
from pipeline.heads.layers.score_pool import ScorePool
from pipeline.heads.lazy import Module, Tensor, torch
from pipeline.heads.spec import ScorePoolSpec


class InstanceMaxSpec(ScorePoolSpec):
    """The head of InstanceMax."""

    pool: Literal["instance_max"] = "instance_max"

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return InstanceMax()


class InstanceMax(ScorePool):
    """A set's score is its best image's: S. Andrews, I. Tsochantaridis and T. Hofmann, "Support vector machines for
    multiple-instance learning", NIPS 2002. No parameters. Departure: none but the classifier, here a network.

    The best image has the whole share of a label: the first one, of equals.
    """

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        best, image = fill_with_lowest(z, mask).max(1, keepdim=True)
        return best.squeeze(1), torch.zeros_like(z).scatter(1, image, 1.0)
