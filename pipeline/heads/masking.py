"""Padding never changes a result: the masked operations that every pool is made of.

Vectors are zeros at padding when they come here. Weights may carry further dimensions behind [b, s], such as one for
each query or label.
"""

import torch
from torch import Tensor


def beside(mask: Tensor, x: Tensor) -> Tensor:
    """A mask bool [b, s] with as many dimensions as x [b, s, ...], to be broadcast."""
    return mask.reshape(*mask.shape, *[1] * (x.dim() - 2))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the images of a set; padding gets weight 0, and so does everything in an empty set.

    Args:
        scores: float [b, s, ...].
        mask: bool [b, s], True where there is an image.

    Returns:
        float [b, s, ...], which sums to 1 over the images of each set that has one.
    """
    scores = scores.masked_fill(~beside(mask, scores), float("-inf"))
    peak = scores.amax(1, keepdim=True).detach()
    weights = torch.exp(scores - torch.where(peak.isfinite(), peak, 0.0))
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def uniform(mask: Tensor) -> Tensor:
    """The same weight for every image of a set: bool [b, s] to float [b, s]."""
    return mask / mask.sum(1, keepdim=True).clamp_min(1)


def weighted_sum(weights: Tensor, x: Tensor) -> Tensor:
    """Pools vectors: float [b, s] and float [b, s, d] to float [b, d]."""
    return (weights.unsqueeze(1) @ x).squeeze(1)


def lowest(x: Tensor, mask: Tensor) -> Tensor:
    """x [b, s, ...] with the lowest number there is at padding, so that no maximum falls on it."""
    return x.masked_fill(~beside(mask, x), torch.finfo(x.dtype).min)


def zero_if_empty(pooled: Tensor, mask: Tensor) -> Tensor:
    """Pooled vectors [b, w] with zeros for the sets without images."""
    return pooled.masked_fill(~mask.any(1, keepdim=True), 0.0)


def shares(amounts: Tensor, mask: Tensor) -> Tensor:
    """Each image's share of every column of what a set's images bring, averaged over the columns.

    Args:
        amounts: float [b, s, w], at least 0.
        mask: bool [b, s].

    Returns:
        float [b, s]; each row with an image sums to 1. Of a column to which none brings anything, all have the same.
    """
    amounts = amounts.detach().masked_fill(~mask.unsqueeze(-1), 0.0)
    total = amounts.sum(1, keepdim=True)
    share = amounts / total.clamp_min(torch.finfo(amounts.dtype).tiny)
    return torch.where(total > 0, share, uniform(mask).unsqueeze(-1)).mean(-1)
