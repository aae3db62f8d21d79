"""The average image decides."""

from torch import Tensor

from pipeline.heads.masking import uniform
from pipeline.heads.score_pools.score_pool import ScorePool


class InstanceMean(ScorePool):
    """A set's score is the average of its images': the mean pooling of X. Wang, Y. Yan, P. Tang, X. Bai and W. Liu,
    "Revisiting multiple instance neural networks", Pattern Recognition 74, 2018. No parameters.

    Departure: logits are averaged, not probabilities, so that the loss sees them unharmed. All images share alike.
    """

    def __init__(self, dim: int, classes: int):
        super().__init__()

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = uniform(mask).unsqueeze(-1)
        return (weights * z).sum(1), weights.expand_as(z)
