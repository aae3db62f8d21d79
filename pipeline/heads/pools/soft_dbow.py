"""A bag of visual words, softly assigned."""

from typing import Literal

from pipeline.heads.layers.masking import expand_mask, shares
from pipeline.heads.layers.normalisation import to_unit_scale
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class SoftBagOfWordsSpec(VectorPoolSpec):
    """The head of SoftBagOfWordsPool.

    Attributes:
        clusters: how many words.
    """

    pool: Literal["soft_dbow"] = "soft_dbow"
    clusters: Size = 128

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return self.clusters * (dim + 1)

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.clusters

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(layers=("assignment",), keeps_space=False)

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return SoftBagOfWordsPool(dim, self.clusters)


class SoftBagOfWordsPool(Module):
    """Sum over the set of a(m) = softmax over the words of W x(m) + b, normalised: A. Miech, I. Laptev and J. Sivic,
    "Learnable pooling with context gating for video classification", 2017 (Soft-DBoW).

    With K = `clusters`: K (d + 1) parameters. Departure: no batch normalisation, which would let neighbours in the
    batch matter; unit mean square instead of unit length (`normalisation.py`).

    Every image is assigned to the same amount of words, so its importance is its share of each word, averaged over the
    words: an image that nothing else in the set resembles counts more.
    """

    def __init__(self, dim: int, clusters: int):
        super().__init__()
        self.assignment = nn.Linear(dim, clusters)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, K] and the importance float [b, s]."""
        assigned = torch.softmax(self.assignment(x), -1)
        assigned = assigned.masked_fill(~expand_mask(mask, assigned), 0.0)
        return to_unit_scale(assigned.sum(1)), shares(assigned, mask)
