"""Pools of vectors: a set of images to one vector, as a weighted sum of the images' own.

Formulas (6), (7), (11), (12) and (15) are those of K. Demochkin and A. Savchenko, "Visual product recommendation using
neural aggregation network and context gating", J. Phys.: Conf. Ser. 1368, 2019; attention over a set in one and two
layers is the neural aggregation network of J. Yang et al., CVPR 2017.

Two departures, neither of which adds a parameter. Padding is masked. Scores are scaled: by the root of the width for a
learnt query, as in scaled dot-product attention; by the width for the second layer's, which is made anew for each set
and whose D entries are all near -1 or 1. Without that the second softmax saturates on its first steps and stays so.
"""

import math

import torch
from torch import Tensor, nn

from pipeline.heads.masking import masked_softmax, uniform, weighted_sum


class MeanPool(nn.Module):
    """The average of the set's vectors. No parameters."""

    def __init__(self, dim: int):
        super().__init__()
        self.out_features = dim

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = uniform(mask)
        return weighted_sum(weights, x), weights


class AttentionPool(nn.Module):
    """One layer of attention, (6)-(7): w(m) = softmax of q.x(m). D parameters."""

    def __init__(self, dim: int):
        super().__init__()
        self.out_features = dim
        self.query = nn.Parameter(torch.randn(dim) / math.sqrt(dim))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = masked_softmax(_scores(x, self.query), mask)
        return weighted_sum(weights, x), weights


class TwoLayerAttentionPool(nn.Module):
    """Two layers of attention: the first pooled vector r makes a query of its own, q1 = tanh(W r + b).

    D + D^2 + D parameters.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.out_features = dim
        self.first = AttentionPool(dim)
        self.next_query = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the second layer's weights float [b, s]."""
        query = torch.tanh(self.next_query(self.first(x, mask)[0]))
        weights = masked_softmax(_second_scores(x, query), mask)
        return weighted_sum(weights, x), weights


class SqueezeAttentionPool(nn.Module):
    """Squeeze attention, (11)-(12): s(m) = Ws x(m), w(m) = softmax of q.s(m), which pool the original x(m).

    D S + S parameters. With `project` the pooled vector leaves squeezed: the same weights pool s(m).
    """

    def __init__(self, dim: int, squeeze: int, project: bool):
        super().__init__()
        self.out_features = squeeze if project else dim
        self.project = project
        self.squeeze = nn.Linear(dim, squeeze, bias=False)
        self.query = nn.Parameter(torch.randn(squeeze) / math.sqrt(squeeze))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] or [b, squeeze] and the weights float [b, s]."""
        squeezed = self.squeeze(x)
        weights = masked_softmax(_scores(squeezed, self.query), mask)
        return weighted_sum(weights, squeezed if self.project else x), weights


class SqueezeExpandPool(nn.Module):
    """Squeeze-expand, (6)-(15): squeeze attention, whose pooled vector r, squeezed, makes the second layer's query.

    q1 = We tanh(W Ws r + b), with W S x S and We D x S; q1 scores the original x(m) and pools them.
    D S + S + S^2 + S + D S parameters. With `project` the pooled vector leaves squeezed, through the same Ws.
    """

    def __init__(self, dim: int, squeeze: int, project: bool):
        super().__init__()
        self.out_features = squeeze if project else dim
        self.project = project
        self.first = SqueezeAttentionPool(dim, squeeze, project=True)
        self.next_query = nn.Linear(squeeze, squeeze)
        self.expand = nn.Linear(squeeze, dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] or [b, squeeze] and the second weights [b, s]."""
        query = self.expand(torch.tanh(self.next_query(self.first(x, mask)[0])))
        weights = masked_softmax(_second_scores(x, query), mask)
        pooled = weighted_sum(weights, x)
        return self.first.squeeze(pooled) if self.project else pooled, weights


def _scores(x: Tensor, query: Tensor) -> Tensor:
    """How well each vector [b, s, d] answers one learnt query [d]: float [b, s]."""
    return x @ query / math.sqrt(x.shape[-1])


def _second_scores(x: Tensor, queries: Tensor) -> Tensor:
    """How well each vector [b, s, d] answers its set's own query [b, d]: float [b, s]."""
    return (x @ queries.unsqueeze(-1)).squeeze(-1) / x.shape[-1]
