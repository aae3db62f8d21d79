"""log(1 + exp(x)), by its logarithm, and back: without a lowest or a highest number.

Below SMALL, softplus(x) = exp(x) and exp(y) - 1 = y hold to the last digit of float32; the logarithm is passed on.
"""

from pipeline.heads.lazy import F, Tensor, torch

SMALL = -16.0  # exp of it, squared, is below the resolution of float32


def log_softplus(x: Tensor) -> Tensor:
    """log(log(1 + exp(x))), float [...].

    >>> log_softplus(torch.tensor([-500.0])).tolist()
    [-500.0]
    """
    return torch.where(x < SMALL, x, torch.log(F.softplus(x.clamp_min(SMALL))))


def inverse_softplus(log_y: Tensor) -> Tensor:
    """The x whose softplus is y, from log(y), float [...]: log(exp(y) - 1) = y + log(1 - exp(-y)).

    >>> inverse_softplus(log_softplus(torch.tensor([-500.0, 50.0]))).round(decimals=3).tolist()
    [-500.0, 50.0]
    """
    y = torch.exp(log_y.clamp_min(SMALL))
    return torch.where(log_y < SMALL, log_y, y + torch.log(-torch.expm1(-y)))
