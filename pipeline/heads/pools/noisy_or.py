"""A label is there unless every image lacks it."""

from typing import Literal

from pipeline.heads.layers.masking import fill_with_lowest
from pipeline.heads.layers.score_pool import ScorePool
from pipeline.heads.layers.softplus import inverse_softplus, log_softplus
from pipeline.heads.lazy import Module, Tensor, torch
from pipeline.heads.spec import ScorePoolSpec


class NoisyOrSpec(ScorePoolSpec):
    """The head of NoisyOr."""

    pool: Literal["noisy_or"] = "noisy_or"

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return NoisyOr()


class NoisyOr(ScorePool):
    """P = 1 - product of (1 - p(m)) with p = sigmoid(z): O. Maron and T. Lozano-Perez, "A framework for
    multiple-instance learning", NIPS 1997. No parameters. Departure: none, but that the result is a logit.

    With t = -log(1 - P) = sum of softplus(z), the logit of P is log(exp(t) - 1). Sums are taken of logarithms, so that
    no score is too low. An image's share is its part in t.
    """

    def _pool(self, z: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        evidence = fill_with_lowest(log_softplus(z), mask)
        return inverse_softplus(torch.logsumexp(evidence, 1)), torch.softmax(evidence, 1)
