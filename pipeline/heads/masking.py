"""Padding never changes a result: the masked operations that every head is made of."""

import torch
from torch import Tensor


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the images of a set; padding gets weight 0, and so does everything in an empty set.

    Args:
        scores: float [b, s].
        mask: bool [b, s], True where there is an image.

    Returns:
        float [b, s]; each row with an image sums to 1.
    """
    scores = scores.masked_fill(~mask, float("-inf"))
    peak = scores.amax(1, keepdim=True).detach()
    weights = torch.exp(scores - torch.where(peak.isfinite(), peak, 0.0))
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def uniform(mask: Tensor) -> Tensor:
    """The same weight for every image of a set: bool [b, s] to float [b, s]."""
    return mask / mask.sum(1, keepdim=True).clamp_min(1)


def weighted_sum(weights: Tensor, x: Tensor) -> Tensor:
    """Pools vectors: float [b, s] and float [b, s, d] to float [b, d]."""
    return (weights.unsqueeze(1) @ x).squeeze(1)
