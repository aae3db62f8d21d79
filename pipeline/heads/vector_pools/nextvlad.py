"""Residuals to cluster centres, by groups of dimensions."""

import torch
from torch import Tensor, nn

from pipeline.heads.masking import shares
from pipeline.heads.vector_pools.normalisation import to_unit_scale


class NeXtVLADPool(nn.Module):
    """NetVLAD on parts of a vector: y(m) = E x(m) + e is cut into G groups y(m, g), each of which is assigned to the
    clusters and attended to on its own, and all of which share the centres.

    V(k) = sum over the set and the groups of t(m, g) a(m, g, k) (y(m, g) - c(k)), with t = sigmoid of a linear map of
    y(m) and a = softmax over the clusters of another; each V(k) is normalised, and they are concatenated: R. Lin,
    J. Xiao and J. Fan, "NeXtVLAD: An efficient neural network to aggregate frame-level features for large-scale video
    classification", ECCV 2018 workshops.

    With w = `width`, G = `groups` and K = `clusters`: w (d + 1) + G (K + 1) (w + 1) + K w / G parameters. Departure: w
    is a number of its own and smaller than d, where the paper's is 2 d, for sets of a few images and not of hundreds of
    frames; no batch normalisation; unit mean square instead of unit length (`normalisation.py`).

    An image's importance is its share of the lengths of a cluster's residuals, averaged over the clusters.
    """

    def __init__(self, dim: int, width: int, groups: int, clusters: int):
        super().__init__()
        self.groups = groups
        self.expansion = nn.Linear(dim, width)
        self.attention = nn.Linear(width, groups)
        self.assignment = nn.Linear(width, groups * clusters)
        self.centres = nn.Parameter(torch.randn(clusters, width // groups) * (width // groups) ** -0.5)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, K w / G] and the importance float [b, s]."""
        y = self.expansion(x)
        assigned = torch.softmax(self.assignment(y).unflatten(-1, (self.groups, -1)), -1)
        assigned = assigned * torch.sigmoid(self.attention(y)).unsqueeze(-1) * mask[..., None, None]
        parts = y.unflatten(-1, (self.groups, -1))
        summed = assigned.flatten(1, 2).transpose(1, 2) @ parts.flatten(1, 2)
        residuals = summed - assigned.sum((1, 2)).unsqueeze(-1) * self.centres
        return to_unit_scale(residuals).flatten(1), shares(self._amounts(parts, assigned), mask)

    def _amounts(self, parts: Tensor, assigned: Tensor) -> Tensor:
        """Lengths of each image's residuals, as assigned: [b, s, G, w / G] and [b, s, G, K] to float [b, s, K]."""
        squares = parts.square().sum(-1, keepdim=True) - 2 * parts @ self.centres.T + self.centres.square().sum(-1)
        return (assigned * squares.detach().clamp_min(0).sqrt()).sum(2)
