"""Max pooling of vectors."""

from typing import Literal

from pipeline.heads.layers.masking import fill_with_lowest, shares, zero_if_empty
from pipeline.heads.lazy import Module, Tensor
from pipeline.heads.spec import Merging, VectorPoolSpec


class MaxSpec(VectorPoolSpec):
    """The head of MaxPool."""

    pool: Literal["max"] = "max"

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(obstacle="it takes the largest number of each dimension")

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return MaxPool()


class MaxPool(Module):
    """The largest number of each dimension, as C. Qi, H. Su, K. Mo and L. Guibas pool a set of points in "PointNet:
    Deep learning on point sets for 3D classification and segmentation", CVPR 2017. No parameters. Departure: padding is
    masked, and the vectors have had no layer of their own.

    An image's importance is the share of the dimensions in which it is the largest; equals share a dimension.
    """

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the importance float [b, s]."""
        x = fill_with_lowest(x, mask)
        pooled = x.amax(1)
        largest = (x == pooled.unsqueeze(1)).to(x.dtype)
        return zero_if_empty(pooled, mask), shares(largest, mask)
