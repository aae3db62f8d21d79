"""Generalised mean pooling, between the average and the maximum."""

import math
from typing import Literal

from pipeline.heads.layers.masking import expand_mask, zero_if_empty
from pipeline.heads.layers.softplus import inverse_softplus, log_softplus
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, VectorPoolSpec

START = 3.0  # the paper's power


class GeneralisedMeanSpec(VectorPoolSpec):
    """The head of GeneralisedMeanPool."""

    pool: Literal["gem"] = "gem"

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return 1

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(obstacle="it takes powers of each dimension")

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return GeneralisedMeanPool()


class GeneralisedMeanPool(Module):
    """(mean of x^p)^(1/p) in each dimension, with a learnt p, from F. Radenovic, G. Tolias and O. Chum, "Fine-tuning
    CNN image retrieval with no human annotation", TPAMI 41, 2019. One parameter, log p.

    Departure: powers need positive numbers, which the paper's ReLU gives and standardised vectors are not. Cutting them
    off at 0 would lose half of what they say, so the mean is taken of f(x), f being the softplus, and the pooled number
    is brought back by the inverse of f: one image passes unchanged, and p to infinity is the maximum. p is learnt by
    its logarithm, which keeps it positive.

    An image's importance is its share of the sum of powers, averaged over the dimensions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_power = nn.Parameter(torch.full((1,), math.log(START)))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the importance float [b, s]."""
        power = self.log_power.exp()
        seen = expand_mask(
            mask | ~mask.any(1, keepdim=True), x
        )  # an empty set sees its padding, and is emptied at the end
        logs = power * log_softplus(x)
        peak = logs.detach().masked_fill(~seen, float("-inf")).amax(1, keepdim=True)
        powers = torch.exp((logs - peak).masked_fill(~seen, 0.0)) * seen
        total = powers.sum(1, keepdim=True)
        pooled = inverse_softplus((torch.log(total / seen.sum(1, keepdim=True)) + peak) / power).squeeze(1)
        return zero_if_empty(pooled, mask), (powers / total).detach().mean(-1).masked_fill(~mask, 0.0)
