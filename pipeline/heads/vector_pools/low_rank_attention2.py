"""Two layers of attention whose second query is made through a narrow layer: squeeze-expand, folded."""

import torch
from torch import Tensor, nn

from pipeline.heads.masking import masked_softmax, weighted_sum
from pipeline.heads.vector_pools.attention import AttentionPool


class LowRankTwoLayerAttentionPool(nn.Module):
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
