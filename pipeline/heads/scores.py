"""Pools of scores: each image is classified, then a label's scores over the set become one.

A set has a label when one of its images has it: the pools below are forms of "or". Each takes logits z [b, s, c] and a
mask [b, s], and gives the set's logits [b, c] and each image's share in them [b, s, c], which sums to 1 over the images
of a set. A set without images has EMPTY_LOGIT for every label: nothing was seen, so nothing is claimed.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

EMPTY_LOGIT = -30.0  # a probability of 1e-13, finite in every type
SMALL = -16.0  # exp of it, squared, is below the resolution of float32

ScorePool = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def instance_max(z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A set's score is its best image's; the best image has the whole share (the first one, of equals)."""
    z = z.masked_fill(~mask.unsqueeze(-1), torch.finfo(z.dtype).min)
    best, image = z.max(1, keepdim=True)
    share = torch.zeros_like(z).scatter(1, image, 1.0)
    return _answer(best.squeeze(1), share, mask)


def logsumexp(z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """log of the sum of exp(z): a smooth maximum that grows with every image in favour."""
    z = z.masked_fill(~mask.unsqueeze(-1), torch.finfo(z.dtype).min)
    return _answer(torch.logsumexp(z, 1), torch.softmax(z, 1), mask)


def noisy_or(z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """P = 1 - prod (1 - p(m)) with p = sigmoid(z), as a logit; an image's share is its part in -log(1 - P).

    With t = -log(1 - P) = sum of softplus(z), the logit of P is log(exp(t) - 1) = t + log(1 - exp(-t)). Sums are taken
    of logarithms, and below SMALL both softplus(z) = exp(z) and exp(t) - 1 = t hold to the last digit, so that no score
    is too low.
    """
    evidence = torch.where(z < SMALL, z, torch.log(F.softplus(z.clamp_min(SMALL))))
    evidence = evidence.masked_fill(~mask.unsqueeze(-1), torch.finfo(z.dtype).min)
    total = torch.logsumexp(evidence, 1)
    t = torch.exp(total.clamp_min(SMALL))
    logits = torch.where(total < SMALL, total, t + torch.log(-torch.expm1(-t)))
    return _answer(logits, torch.softmax(evidence, 1), mask)


SCORE_POOLS: dict[str, ScorePool] = {"noisy_or": noisy_or, "logsumexp": logsumexp, "instance_max": instance_max}


def _answer(logits: Tensor, share: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    seen = mask.any(1)
    return torch.where(seen.unsqueeze(-1), logits, EMPTY_LOGIT), share.masked_fill(~mask.unsqueeze(-1), 0.0)
