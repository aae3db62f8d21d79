"""Residuals to cluster centres, by groups of dimensions."""

from typing import Literal, Self

from pydantic import model_validator

from pipeline.heads.layers.masking import shares
from pipeline.heads.layers.normalisation import to_unit_scale
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class NeXtVLADSpec(VectorPoolSpec):
    """The head of NeXtVLADPool.

    Attributes:
        inner_dim: numbers that each vector is mapped to before it is pooled.
        groups: parts of a vector that are assigned to clusters one at a time; they divide `inner_dim`.
        clusters: how many; each gives a vector, and they are concatenated.
    """

    pool: Literal["nextvlad"] = "nextvlad"
    inner_dim: Size = 512
    groups: Size = 8
    clusters: Size = 16

    @model_validator(mode="after")
    def _groups_divide_inner_dim(self) -> Self:
        if self.inner_dim % self.groups:
            raise ValueError(f"inner_dim {self.inner_dim} cannot be divided into {self.groups} groups")
        return self

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        inner, groups, clusters = self.inner_dim, self.groups, self.clusters
        return inner * (dim + 1) + groups * (clusters + 1) * (inner + 1) + clusters * (inner // groups)

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.clusters * (self.inner_dim // self.groups)

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(layers=("expansion",), keeps_space=False)

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return NeXtVLADPool(dim, self.inner_dim, groups=self.groups, clusters=self.clusters)


class NeXtVLADPool(Module):
    """NetVLAD on parts of a vector: y(m) = W x(m) + b is cut into G groups y(m, g). Each group is assigned to the
    clusters and attended to separately; all groups share the centres.

    V(k) = sum over the set and the groups of t(m, g) a(m, g, k) (y(m, g) - c(k)), with t = sigmoid of a linear map of
    y(m) and a = softmax over the clusters of another; each V(k) is normalised, and they are concatenated: R. Lin,
    J. Xiao and J. Fan, "NeXtVLAD: An efficient neural network to aggregate frame-level features for large-scale video
    classification", ECCV 2018 workshops.

    With e = `inner_dim`, G = `groups` and K = `clusters`: e (d + 1) + G (K + 1) (e + 1) + K e / G parameters.
    Departure: e can be chosen and is smaller than d, where the paper's is 2 d, for sets of a few images and not of
    hundreds of frames; no batch normalisation; unit mean square instead of unit length (`normalisation.py`).

    An image's importance is its share of the lengths of a cluster's residuals, averaged over the clusters.
    """

    def __init__(self, dim: int, inner_dim: int, *, groups: int, clusters: int):
        super().__init__()
        self.groups = groups
        self.expansion = nn.Linear(dim, inner_dim)
        self.attention = nn.Linear(inner_dim, groups)
        self.assignment = nn.Linear(inner_dim, groups * clusters)
        part = inner_dim // groups
        self.centres = nn.Parameter(torch.randn(clusters, part) * part**-0.5)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, K e / G] and the importance float [b, s]."""
        y = self.expansion(x)
        assigned = torch.softmax(self.assignment(y).unflatten(-1, (self.groups, -1)), -1)
        assigned = assigned * torch.sigmoid(self.attention(y)).unsqueeze(-1) * mask[..., None, None]
        parts = y.unflatten(-1, (self.groups, -1))
        summed = assigned.flatten(1, 2).transpose(1, 2) @ parts.flatten(1, 2)
        residuals = summed - assigned.sum((1, 2)).unsqueeze(-1) * self.centres
        return to_unit_scale(residuals).flatten(1), shares(self._amounts(parts, assigned), mask)

    def _amounts(self, parts: Tensor, assigned: Tensor) -> Tensor:
        """Lengths of each image's residuals, as assigned: [b, s, G, e / G] and [b, s, G, K] to float [b, s, K]."""
        squares = parts.square().sum(-1, keepdim=True) - 2 * parts @ self.centres.T + self.centres.square().sum(-1)
        return (assigned * squares.detach().clamp_min(0).sqrt()).sum(2)
