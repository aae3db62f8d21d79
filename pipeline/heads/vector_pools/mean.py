"""Average pooling."""

from torch import Tensor, nn

from pipeline.heads.masking import uniform, weighted_sum


class MeanPool(nn.Module):
    """The average of the set's vectors: the baseline of K. Demochkin and A. Savchenko, "Visual product recommendation
    using neural aggregation network and context gating", J. Phys.: Conf. Ser. 1368, 2019. No parameters.

    Departure: theirs divides by 8 however many images there are, which `divide_by: 8` does too; every image counts the
    same either way.
    """

    def __init__(self, dim: int, divide_by: int | None):
        super().__init__()
        self.divide_by = divide_by

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = uniform(mask)
        if self.divide_by is None:
            return weighted_sum(weights, x), weights
        return x.sum(1) / self.divide_by, weights
