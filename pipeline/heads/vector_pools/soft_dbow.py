"""A bag of visual words, softly assigned."""

import torch
from torch import Tensor, nn

from pipeline.heads.masking import beside, shares
from pipeline.heads.vector_pools.normalisation import to_unit_scale


class SoftBagOfWordsPool(nn.Module):
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
        assigned = assigned.masked_fill(~beside(mask, assigned), 0.0)
        return to_unit_scale(assigned.sum(1)), shares(assigned, mask)
