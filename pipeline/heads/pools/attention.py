"""One layer of attention over a set."""

from typing import Literal

from pipeline.heads.layers.masking import masked_softmax, weighted_sum
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, QueryPoolSpec


class AttentionSpec(QueryPoolSpec):
    """The head of AttentionPool."""

    pool: Literal["attention"] = "attention"

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(rows=("query",), queries=("query",))

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return AttentionPool(dim, self.scale_scores)


class AttentionPool(Module):
    """Sum of w(m) x(m) with w(m) = softmax over the set of q.x(m), the neural aggregation network of J. Yang, P. Ren,
    D. Zhang, D. Chen, F. Wen, H. Li and G. Hua, "Neural aggregation network for video face recognition", CVPR 2017;
    formulas (6) and (7) of K. Demochkin and A. Savchenko, J. Phys.: Conf. Ser. 1368, 2019.

    d parameters. Departure: scores are divided by the root of d, as in scaled dot-product attention, so that
    the softmax of standardised vectors does not start saturated; `scale_scores: false` leaves them as published.
    """

    def __init__(self, dim: int, scale_scores: bool):
        super().__init__()
        self.query = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.scale = dim**-0.5 if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = masked_softmax(x @ self.query * self.scale, mask)
        return weighted_sum(weights, x), weights
