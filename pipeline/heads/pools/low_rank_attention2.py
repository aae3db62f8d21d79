"""Two layers of attention whose second query is made through a narrow layer: squeeze-expand, folded."""

from typing import Literal

from pipeline.heads.layers.masking import masked_softmax, weighted_sum
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.pools.attention import AttentionPool
from pipeline.heads.spec import Merging, QueryPoolSpec, Size


class LowRankAttentionSpec(QueryPoolSpec):
    """The head of LowRankTwoLayerAttentionPool.

    Attributes:
        rank: numbers inside the second layer.
    """

    pool: Literal["low_rank_attention2"] = "low_rank_attention2"
    rank: Size = 256

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return 2 * self.rank * dim + dim + self.rank

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(
            rows=("first.query",), columns=("expand.weight",), layers=("next_query",), queries=("first.query",)
        )

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return LowRankTwoLayerAttentionPool(dim, self.rank, self.scale_scores)


class LowRankTwoLayerAttentionPool(Module):
    """What the first layer pools, r, makes the second layer's query, E tanh(P r + b).

    SqueezeExpandPool (K. Demochkin and A. Savchenko, J. Phys.: Conf. Ser. 1368, 2019) has nothing between its squeeze
    and what follows but linear maps: with q its query, P = W Ws, E = We and the query Ws^T q, this pool gives the same.
    With R = `rank`: d + d R + R + d R parameters. Departure: it can be trained as it stands; scores are then divided
    as in TwoLayerAttentionPool.
    """

    def __init__(self, dim: int, rank: int, scale_scores: bool):
        super().__init__()
        self.first = AttentionPool(dim, scale_scores)
        self.next_query = nn.Linear(dim, rank)
        self.expand = nn.Linear(rank, dim, bias=False)
        self.scale = 1 / dim if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the second layer's weights float [b, s]."""
        query = self.expand(torch.tanh(self.next_query(self.first(x, mask)[0])))
        weights = masked_softmax((x @ query.unsqueeze(-1)).squeeze(-1) * self.scale, mask)
        return weighted_sum(weights, x), weights
