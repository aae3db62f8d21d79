"""Vectors summed by cluster, softly assigned: NetVLAD without centres."""

from typing import Literal

from pipeline.heads.layers.masking import shares
from pipeline.heads.layers.normalisation import to_unit_scale
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class NetRVLADSpec(VectorPoolSpec):
    """The head of NetRVLADPool.

    Attributes:
        clusters: how many; each gives a vector, and they are concatenated.
    """

    pool: Literal["netrvlad"] = "netrvlad"
    clusters: Size = 4

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return self.clusters * (dim + 1)

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.clusters * dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(obstacle="it normalises in the vectors' own space")

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return NetRVLADPool(dim, self.clusters)


class NetRVLADPool(Module):
    """V(k) = sum over the set of a(m, k) x(m), a(m) = softmax over the clusters of W x(m) + b; each V(k) is normalised,
    and they are concatenated: A. Miech, I. Laptev and J. Sivic, "Learnable pooling with context gating for video
    classification", 2017 (NetRVLAD, residual-less).

    With K = `clusters`: K (d + 1) parameters. Departure: no batch normalisation of the assignment; unit mean square
    instead of unit length (`normalisation.py`), so that the whole needs no second normalisation.

    An image's importance is its share of the lengths that a cluster sums, averaged over the clusters.
    """

    def __init__(self, dim: int, clusters: int):
        super().__init__()
        self.assignment = nn.Linear(dim, clusters)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, K d] and the importance float [b, s]."""
        assigned = torch.softmax(self.assignment(x), -1)
        pooled = to_unit_scale(assigned.transpose(1, 2) @ x)
        return pooled.flatten(1), shares(assigned * x.norm(dim=-1, keepdim=True), mask)
