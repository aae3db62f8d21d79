"""Average pooling."""

from typing import Literal

from pipeline.heads.layers.masking import uniform_weights, weighted_sum
from pipeline.heads.lazy import Module, Tensor
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class MeanSpec(VectorPoolSpec):
    """The head of MeanPool.

    Attributes:
        divide_by: the sum is divided by this instead of by the number of images; null: by the number of images.
    """

    pool: Literal["mean"] = "mean"
    divide_by: Size | None = None

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging() if self.divide_by is None else Merging(obstacle="its weights do not sum to one")

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return MeanPool(self.divide_by)


class MeanPool(Module):
    """The average of the set's vectors: the baseline of K. Demochkin and A. Savchenko, "Visual product recommendation
    using neural aggregation network and context gating", J. Phys.: Conf. Ser. 1368, 2019. No parameters.

    Departure: theirs divides by 8 however many images there are, which `divide_by: 8` does too; every image counts the
    same either way.
    """

    def __init__(self, divide_by: int | None):
        super().__init__()
        self.divide_by = divide_by

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = uniform_weights(mask)
        if self.divide_by is None:
            return weighted_sum(weights, x), weights
        return x.sum(1) / self.divide_by, weights
