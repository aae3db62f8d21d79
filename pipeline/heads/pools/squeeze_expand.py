"""Squeeze-expand: two layers of attention with a narrow space between them."""

from typing import Literal

from pipeline.heads.layers.masking import masked_softmax, weighted_sum
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.pools.squeeze_attention import SqueezeAttentionPool
from pipeline.heads.spec import Merging, QueryPoolSpec, Size


class SqueezeExpandSpec(QueryPoolSpec):
    """The head of SqueezeExpandPool.

    Attributes:
        squeeze: numbers in the squeezed space.
        project: the pooled vector leaves squeezed instead of in the original space.
    """

    pool: Literal["squeeze_expand"] = "squeeze_expand"
    squeeze: Size = 256
    project: bool = False

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return 2 * self.squeeze * dim + self.squeeze * (self.squeeze + 2)

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.squeeze if self.project else dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(rows=("first.squeeze.weight",), columns=("expand.weight",), queries=("first.query",))

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return SqueezeExpandPool(dim, self.squeeze, project=self.project, scale_scores=self.scale_scores)


class SqueezeExpandPool(Module):
    """Squeeze attention, whose pooled vector r, squeezed, makes the second layer's query We tanh(W Ws r + b); it scores
    the original x(m) and pools them: formulas (6) to (15) of K. Demochkin and A. Savchenko, "Visual product
    recommendation using neural aggregation network and context gating", J. Phys.: Conf. Ser. 1368, 2019. With `project`
    the pooled vector leaves squeezed, through the same Ws.

    With S = `squeeze`: d S + S + S^2 + S + d S parameters. Departure: scores are divided, the first layer's by the root
    of S, the second's by d, for the reason that TwoLayerAttentionPool has.
    """

    def __init__(self, dim: int, squeeze: int, *, project: bool, scale_scores: bool):
        super().__init__()
        self.project = project
        self.first = SqueezeAttentionPool(dim, squeeze, project=True, scale_scores=scale_scores)
        self.next_query = nn.Linear(squeeze, squeeze)
        self.expand = nn.Linear(squeeze, dim, bias=False)
        self.scale = 1 / dim if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] or [b, S] and the second weights float [b, s]."""
        query = self.expand(torch.tanh(self.next_query(self.first(x, mask)[0])))
        weights = masked_softmax((x @ query.unsqueeze(-1)).squeeze(-1) * self.scale, mask)
        pooled = weighted_sum(weights, x)
        return self.first.squeeze(pooled) if self.project else pooled, weights
