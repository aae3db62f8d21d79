"""Two layers of attention over a set."""

from typing import Literal

from pipeline.heads.layers.masking import masked_softmax, weighted_sum
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.pools.attention import AttentionPool
from pipeline.heads.spec import Merging, QueryPoolSpec


class TwoLayerAttentionSpec(QueryPoolSpec):
    """The head of TwoLayerAttentionPool."""

    pool: Literal["attention2"] = "attention2"

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return dim + dim * dim + dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(obstacle="its second query comes straight out of a tanh")

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return TwoLayerAttentionPool(dim, self.scale_scores)


class TwoLayerAttentionPool(Module):
    """What the first layer pools, r, makes the second layer's query, tanh(W r + b): J. Yang et al., "Neural aggregation
    network for video face recognition", CVPR 2017.

    d + d^2 + d parameters. Departure: scores are divided, the first layer's by the root of d, the second's by d: its
    query is made anew for each set, and its d entries are all near -1 or 1, so that without it the softmax saturates on
    its first steps and stays so. `scale_scores: false` leaves both as published.
    """

    def __init__(self, dim: int, scale_scores: bool):
        super().__init__()
        self.first = AttentionPool(dim, scale_scores)
        self.next_query = nn.Linear(dim, dim)
        self.scale = 1 / dim if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the second layer's weights float [b, s]."""
        query = torch.tanh(self.next_query(self.first(x, mask)[0]))
        weights = masked_softmax((x @ query.unsqueeze(-1)).squeeze(-1) * self.scale, mask)
        return weighted_sum(weights, x), weights
