"""Attention by gated scores."""

from torch import Tensor, nn

from pipeline.heads.gated_scores import GatedScores
from pipeline.heads.masking import masked_softmax, weighted_sum


class GatedAttentionPool(nn.Module):
    """Sum of w(m) x(m) with w(m) = softmax over the set of w.(tanh(V x(m) + v) * sigmoid(U x(m) + u)): M. Ilse,
    J. Tomczak and M. Welling, "Attention-based deep multiple instance learning", ICML 2018.

    With L = `attention_width`: 2 L (d + 1) + L parameters. Departure: the biases v and u.
    """

    def __init__(self, dim: int, attention_width: int):
        super().__init__()
        self.scores = GatedScores(dim, attention_width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = masked_softmax(self.scores(x).squeeze(-1), mask)
        return weighted_sum(weights, x), weights
