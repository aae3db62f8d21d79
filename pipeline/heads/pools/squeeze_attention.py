"""Squeeze attention: images are scored in a narrower space than they are pooled in."""

from typing import Literal

from pipeline.heads.layers.masking import masked_softmax, weighted_sum
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, QueryPoolSpec, Size


class SqueezeAttentionSpec(QueryPoolSpec):
    """The head of SqueezeAttentionPool.

    Attributes:
        squeeze: numbers in the squeezed space.
        project: the pooled vector leaves squeezed instead of in the original space.
    """

    pool: Literal["squeeze_attention"] = "squeeze_attention"
    squeeze: Size = 256
    project: bool = False

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return self.squeeze * dim + self.squeeze

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.squeeze if self.project else dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(rows=("squeeze.weight",), queries=("query",))

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return SqueezeAttentionPool(dim, self.squeeze, project=self.project, scale_scores=self.scale_scores)


class SqueezeAttentionPool(Module):
    """s(m) = Ws x(m) and w(m) = softmax over the set of q.s(m), which pool the original x(m): formulas (11) and (12) of
    K. Demochkin and A. Savchenko, "Visual product recommendation using neural aggregation network and context gating",
    J. Phys.: Conf. Ser. 1368, 2019. With `project` the pooled vector leaves squeezed: the same weights pool s(m).

    With S = `squeeze`: d S + S parameters. Departure: scores are divided by the root of S, as in AttentionPool.

    Computed as q.(Ws x) = (Ws^T q).x, and the pooled Ws x as Ws times the pooled x: the same values and gradients, but
    no image is squeezed by itself, which costs s times as much.
    """

    def __init__(self, dim: int, squeeze: int, *, project: bool, scale_scores: bool):
        super().__init__()
        self.project = project
        self.squeeze = nn.Linear(dim, squeeze, bias=False)
        self.query = nn.Parameter(torch.randn(squeeze) * squeeze**-0.5)
        self.scale = squeeze**-0.5 if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] or [b, S] and the weights float [b, s]."""
        weights = masked_softmax(x @ (self.query @ self.squeeze.weight * self.scale), mask)
        pooled = weighted_sum(weights, x)
        return self.squeeze(pooled) if self.project else pooled, weights
