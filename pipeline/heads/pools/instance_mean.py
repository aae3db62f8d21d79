"""The average image decides."""

from typing import Literal

from pipeline.heads.layers.masking import uniform_weights
from pipeline.heads.layers.score_pool import ScorePool
from pipeline.heads.lazy import Module, Tensor
from pipeline.heads.spec import ScorePoolSpec


class InstanceMeanSpec(ScorePoolSpec):
    """The head of InstanceMean."""

    pool: Literal["instance_mean"] = "instance_mean"

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return InstanceMean()


class InstanceMean(ScorePool):
    """A set's score is the average of its images': the mean pooling of X. Wang, Y. Yan, P. Tang, X. Bai and W. Liu,
    "Revisiting multiple instance neural networks", Pattern Recognition 74, 2018. No parameters.

    Departure: logits are averaged, not probabilities, so that the loss sees them unharmed. All images share alike.
    """

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = uniform_weights(mask).unsqueeze(-1)
        return (weights * z).sum(1), weights.expand_as(z)
