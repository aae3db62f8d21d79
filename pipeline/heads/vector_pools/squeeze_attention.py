"""Squeeze attention: images are scored in a narrower space than they are pooled in."""

import torch
from torch import Tensor, nn

from pipeline.heads.masking import masked_softmax, weighted_sum


class SqueezeAttentionPool(nn.Module):
    """s(m) = Ws x(m) and w(m) = softmax over the set of q.s(m), which pool the original x(m): formulas (11) and (12) of
    K. Demochkin and A. Savchenko, "Visual product recommendation using neural aggregation network and context gating",
    J. Phys.: Conf. Ser. 1368, 2019. With `project` the pooled vector leaves squeezed: the same weights pool s(m).

    With S = `squeeze`: d S + S parameters. Departure: scores are divided by the root of S, as in AttentionPool.
    """

    def __init__(self, dim: int, squeeze: int, project: bool, scale_scores: bool):
        super().__init__()
        self.project = project
        self.squeeze = nn.Linear(dim, squeeze, bias=False)
        self.query = nn.Parameter(torch.randn(squeeze) * squeeze**-0.5)
        self.scale = squeeze**-0.5 if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] or [b, S] and the weights float [b, s]."""
        squeezed = self.squeeze(x)
        weights = masked_softmax(squeezed @ self.query * self.scale, mask)
        return weighted_sum(weights, squeezed if self.project else x), weights
