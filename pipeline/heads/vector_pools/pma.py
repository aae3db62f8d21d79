"""Pooling by multi-head attention, the Set Transformer's."""

import torch
from torch import Tensor, nn

from pipeline.heads.masking import zero_if_empty


class AttentionBlockPool(nn.Module):
    """Learnt seeds S attend to the set: PMA(X) = MAB(S, rFF(X)), where MAB(S, Z) = N(H + rFF(H)), H = N(S + multi-head
    attention of S over Z), N is layer normalisation and rFF(x) = ReLU(W x + b): J. Lee, Y. Lee, J. Kim, A. Kosiorek,
    S. Choi and Y. W. Teh, "Set Transformer: A framework for attention-based permutation-invariant neural networks",
    ICML 2019. Several seeds' vectors are concatenated.

    With w = `width` and k = `queries`: w (d + 1) + k w + 4 w (w + 1) + 2 w parameters, and with `feed_forward`
    w (w + 1) + 2 w more. Departure: the first rFF also brings the vectors to the narrower w; without `feed_forward` the
    block ends at H.

    An image's importance is its mean attention over the seeds and the heads.
    """

    def __init__(self, dim: int, width: int, queries: int, attention_heads: int, feed_forward: bool):
        super().__init__()
        self.reduction = nn.Linear(dim, width)
        self.seeds = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.attention = nn.MultiheadAttention(width, attention_heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = nn.Linear(width, width) if feed_forward else None
        self.last_norm = nn.LayerNorm(width) if feed_forward else None

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, k w] and the mean attention float [b, s]."""
        z = torch.relu(self.reduction(x))
        # Attention to nothing is not a number, so an empty set attends to its padding, and is emptied at the end.
        hidden = ~mask & mask.any(1, keepdim=True)
        seeds = self.seeds.expand(len(x), -1, -1)
        attended, weights = self.attention(seeds, z, z, key_padding_mask=hidden)
        pooled = self.norm(seeds + attended)
        if self.feed_forward is not None:
            pooled = self.last_norm(pooled + torch.relu(self.feed_forward(pooled)))
        return zero_if_empty(pooled.flatten(1), mask), zero_if_empty(weights.mean(1), mask)
