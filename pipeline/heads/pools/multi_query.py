"""Attention with several learnt queries."""

from typing import Literal

from pipeline.heads.layers.masking import masked_softmax
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, QueryPoolSpec, Size


class MultiQuerySpec(QueryPoolSpec):
    """The head of MultiQueryPool.

    Attributes:
        queries: how many learnt queries; each pools a vector, and they are concatenated.
    """

    pool: Literal["multi_query"] = "multi_query"
    queries: Size = 4

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return self.queries * dim

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.queries * dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(rows=("queries",), queries=("queries",))

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return MultiQueryPool(dim, self.queries, self.scale_scores)


class MultiQueryPool(Module):
    """k queries q(j) pool a vector each, sum of w(m, j) x(m) with w(., j) = softmax over the set of q(j).x(m), and the
    vectors are concatenated: the hops of attention of Z. Lin, M. Feng, C. dos Santos, M. Yu, B. Xiang, B. Zhou and
    Y. Bengio, "A structured self-attentive sentence embedding", ICLR 2017.

    With k = `queries`: k d parameters. Departure: a query scores the vectors themselves, without a hidden layer, so
    that one query is AttentionPool; scores are divided by the root of d, and no penalty keeps the queries apart.

    An image's importance is its mean weight over the queries.
    """

    def __init__(self, dim: int, queries: int, scale_scores: bool):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, dim) * dim**-0.5)
        self.scale = dim**-0.5 if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, k d] and the mean weights float [b, s]."""
        weights = masked_softmax(x @ self.queries.T * self.scale, mask)
        return (weights.transpose(1, 2) @ x).flatten(1), weights.mean(-1)
