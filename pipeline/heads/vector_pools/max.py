"""Max pooling of vectors."""

from torch import Tensor, nn

from pipeline.heads.masking import lowest, shares, zero_if_empty


class MaxPool(nn.Module):
    """The largest number of each dimension, as C. Qi, H. Su, K. Mo and L. Guibas pool a set of points in "PointNet:
    Deep learning on point sets for 3D classification and segmentation", CVPR 2017. No parameters. Departure: padding is
    masked, and the vectors have had no layer of their own.

    An image's importance is the share of the dimensions in which it is the largest; equals share a dimension.
    """

    def __init__(self, dim: int):
        super().__init__()

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the importance float [b, s]."""
        x = lowest(x, mask)
        pooled = x.amax(1)
        largest = (x == pooled.unsqueeze(1)).to(x.dtype)
        return zero_if_empty(pooled, mask), shares(largest, mask)
