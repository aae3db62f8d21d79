"""AdamW under a one-cycle learning rate.

The step is torch's own function. Its optimiser classes are left aside because the first one made imports torch's
compiler, and that takes longer than training the smallest head.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

RISE = 0.3  # share of the steps in which the rate rises
START = 1 / 25  # of the peak


class OneCycleAdamW:
    """AdamW (I. Loshchilov and F. Hutter, 2019) whose rate rises to a peak and falls to nothing (L. Smith, 2017).

    Args:
        parameters: what is trained.
        peak: the highest learning rate.
        steps: how many steps there will be.
        weight_decay: decoupled, times the learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, peak: float, steps: int, weight_decay: float):
        self._parameters: list[Tensor] = list(parameters)
        self._peak, self._steps, self._weight_decay = peak, steps, weight_decay
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._counts = [torch.zeros(()) for _ in self._parameters]
        self._done = 0

    @torch.no_grad()
    def step(self) -> None:
        """Follows the gradients that the parameters hold, and forgets them.

        Raises:
            ValueError: when a parameter has none, because the loss does not depend on it.
        """
        adamw(
            self._parameters,
            [_gradient(parameter) for parameter in self._parameters],
            self._means,
            self._squares,
            [],
            self._counts,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rate(),
            weight_decay=self._weight_decay,
            eps=1e-8,
            maximize=False,
        )
        self._done += 1
        for parameter in self._parameters:
            parameter.grad = None

    def rate(self) -> float:
        """The learning rate of the next step: half a cosine up, half a cosine down."""
        rise = max(1.0, RISE * self._steps)
        if self._done < rise:
            return self._peak * (START + (1 - START) * _half_cosine(self._done / rise))
        return self._peak * (1 - _half_cosine(min(1.0, (self._done - rise) / max(1.0, self._steps - rise))))


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError("the loss does not depend on one of the parameters")
    return parameter.grad


def _half_cosine(share: float) -> float:
    """From 0 to 1 and flat at both ends, for a share from 0 to 1."""
    return (1 - math.cos(math.pi * share)) / 2
