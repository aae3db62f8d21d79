"""Residuals to cluster centres, softly assigned."""

from typing import Literal

from pipeline.heads.layers.masking import expand_mask, shares
from pipeline.heads.layers.normalisation import to_unit_scale
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class NetVLADSpec(VectorPoolSpec):
    """The head of NetVLADPool.

    Attributes:
        clusters: how many; each gives a vector, and they are concatenated.
    """

    pool: Literal["netvlad"] = "netvlad"
    clusters: Size = 4

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return self.clusters * (2 * dim + 1)

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.clusters * dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(obstacle="it normalises in the vectors' own space")

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return NetVLADPool(dim, self.clusters)


class NetVLADPool(Module):
    """V(k) = sum over the set of a(m, k) (x(m) - c(k)), a(m) = softmax over the clusters of W x(m) + b; each V(k) is
    normalised, and they are concatenated: R. Arandjelovic, P. Gronat, A. Torii, T. Pajdla and J. Sivic, "NetVLAD: CNN
    architecture for weakly supervised place recognition", CVPR 2016.

    With K = `clusters`: 2 K d + K parameters. Departure: unit mean square instead of unit length (`normalisation.py`),
    so that the whole needs no second normalisation; and W, b and c start as layers do, not at the clusters of the data.
    Standardised vectors give assignment scores of about one, so the softmax starts soft; the centres start short beside
    the vectors, for what they add is the same for every set.

    An image's importance is its share of the lengths of a cluster's residuals, averaged over the clusters.
    """

    def __init__(self, dim: int, clusters: int):
        super().__init__()
        self.assignment = nn.Linear(dim, clusters)
        self.centres = nn.Parameter(torch.randn(clusters, dim) * dim**-0.5)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, K d] and the importance float [b, s]."""
        assigned = torch.softmax(self.assignment(x), -1)
        assigned = assigned.masked_fill(~expand_mask(mask, assigned), 0.0)
        residuals = assigned.transpose(1, 2) @ x - assigned.sum(1).unsqueeze(-1) * self.centres
        return to_unit_scale(residuals).flatten(1), shares(assigned * self._distances(x), mask)

    def _distances(self, x: Tensor) -> Tensor:
        """From each vector [b, s, d] to each centre: float [b, s, K]."""
        squares = x.square().sum(-1, keepdim=True) - 2 * x @ self.centres.T + self.centres.square().sum(-1)
        return squares.detach().clamp_min(0).sqrt()
