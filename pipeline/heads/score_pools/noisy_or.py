"""A label is there unless every image lacks it."""

import torch
from torch import Tensor

from pipeline.heads.masking import lowest
from pipeline.heads.score_pools.score_pool import ScorePool
from pipeline.heads.softplus import inverse_softplus, log_softplus


class NoisyOr(ScorePool):
    """P = 1 - product of (1 - p(m)) with p = sigmoid(z): O. Maron and T. Lozano-Perez, "A framework for
    multiple-instance learning", NIPS 1997. No parameters. Departure: none, but that the result is a logit.

    With t = -log(1 - P) = sum of softplus(z), the logit of P is log(exp(t) - 1). Sums are taken of logarithms, so that
    no score is too low. An image's share is its part in t.
    """

    def __init__(self, dim: int, classes: int):
        super().__init__()

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        evidence = lowest(log_softplus(z), mask)
        return inverse_softplus(torch.logsumexp(evidence, 1)), torch.softmax(evidence, 1)
