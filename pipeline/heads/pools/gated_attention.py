"""Attention by gated scores."""

from typing import Literal

from pipeline.heads.layers.gated_scores import GatedScores, gated_score_parameters
from pipeline.heads.layers.masking import masked_softmax, weighted_sum
from pipeline.heads.lazy import Module, Tensor
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class GatedAttentionSpec(VectorPoolSpec):
    """The head of GatedAttentionPool.

    Attributes:
        attention_dim: numbers inside the gated scores.
    """

    pool: Literal["gated_attention"] = "gated_attention"
    attention_dim: Size = 128

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return gated_score_parameters(dim, self.attention_dim, outputs=1)

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(layers=("scores.features", "scores.gate"))

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return GatedAttentionPool(dim, self.attention_dim)


class GatedAttentionPool(Module):
    """Sum of w(m) x(m) with w(m) = softmax over the set of w.(tanh(V x(m) + v) * sigmoid(U x(m) + u)): M. Ilse,
    J. Tomczak and M. Welling, "Attention-based deep multiple instance learning", ICML 2018.

    With L = `attention_dim`: 2 L (d + 1) + L parameters. Departure: the biases v and u.
    """

    def __init__(self, dim: int, attention_dim: int):
        super().__init__()
        self.scores = GatedScores(dim, attention_dim, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = masked_softmax(self.scores(x).squeeze(-1), mask)
        return weighted_sum(weights, x), weights
