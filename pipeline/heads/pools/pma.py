"""Pooling by multi-head attention, the Set Transformer's."""

from typing import Literal, Self

from pydantic import model_validator

from pipeline.heads.layers.masking import zero_if_empty
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class AttentionBlockSpec(VectorPoolSpec):
    """The head of AttentionBlockPool.

    Attributes:
        inner_dim: numbers that each vector is mapped to before it is pooled.
        queries: how many learnt seeds; each pools a vector, and they are concatenated.
        attention_heads: heads of the attention; they divide `inner_dim`.
        feed_forward: whether the transformer's feed-forward layer follows its attention.
    """

    pool: Literal["pma"] = "pma"
    inner_dim: Size = 128
    queries: Size = 1
    attention_heads: Size = 4
    feed_forward: bool = True

    @model_validator(mode="after")
    def _heads_divide_inner_dim(self) -> Self:
        if self.inner_dim % self.attention_heads:
            raise ValueError(
                f"inner_dim {self.inner_dim} cannot be divided into {self.attention_heads} attention_heads"
            )
        return self

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        inner = self.inner_dim
        return inner * (dim + 1 + self.queries + 4 * inner + 6) + self.feed_forward * inner * (inner + 3)

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.queries * self.inner_dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(layers=("reduction",), keeps_space=False)

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return AttentionBlockPool(
            dim,
            self.inner_dim,
            queries=self.queries,
            attention_heads=self.attention_heads,
            feed_forward=self.feed_forward,
        )


class AttentionBlockPool(Module):
    """Learnt seeds S attend to the set: PMA(X) = MAB(S, rFF(X)), where MAB(S, Z) = N(H + rFF(H)), H = N(S + multi-head
    attention of S over Z), N is layer normalisation and rFF(x) = ReLU(W x + b): J. Lee, Y. Lee, J. Kim, A. Kosiorek,
    S. Choi and Y. W. Teh, "Set Transformer: A framework for attention-based permutation-invariant neural networks",
    ICML 2019. Several seeds' vectors are concatenated.

    With e = `inner_dim` and k = `queries`: e (d + 1) + k e + 4 e (e + 1) + 2 e parameters, and with `feed_forward`
    e (e + 1) + 2 e more. Departure: the first rFF also brings the vectors to the smaller e; without `feed_forward` the
    block ends at H.

    An image's importance is its mean attention over the seeds and the heads.
    """

    def __init__(self, dim: int, inner_dim: int, *, queries: int, attention_heads: int, feed_forward: bool):
        super().__init__()
        self.reduction = nn.Linear(dim, inner_dim)
        self.seeds = nn.Parameter(torch.randn(queries, inner_dim) * inner_dim**-0.5)
        self.attention = nn.MultiheadAttention(inner_dim, attention_heads, batch_first=True)
        self.norm = nn.LayerNorm(inner_dim)
        self.feed_forward = nn.Linear(inner_dim, inner_dim) if feed_forward else None
        self.last_norm = nn.LayerNorm(inner_dim) if feed_forward else None

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, k e] and the mean attention float [b, s]."""
        z = torch.relu(self.reduction(x))
        # Attention to nothing is not a number, so an empty set attends to its padding, and is emptied at the end.
        hidden = ~mask & mask.any(1, keepdim=True)
        seeds = self.seeds.expand(len(x), -1, -1)
        attended, weights = self.attention(seeds, z, z, key_padding_mask=hidden)
        pooled = self.norm(seeds + attended)
        if self.feed_forward is not None and self.last_norm is not None:
            pooled = self.last_norm(pooled + torch.relu(self.feed_forward(pooled)))
        return zero_if_empty(pooled.flatten(1), mask), zero_if_empty(weights.mean(1), mask)
