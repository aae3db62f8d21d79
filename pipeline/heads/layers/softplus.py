"""log(1 + exp(x)), by its logarithm, and back: without a lowest or a highest number.

Below SMALL, softplus(x) = exp(x) and exp(y) - 1 = y hold to the last digit of float32; the logarithm is passed on.

Written so that ONNX, which has neither log-sigmoid nor expm1, keeps every digit: an exporter makes log(sigmoid(x)) of
the one, which is log(0) for a low x, and exp(x) - 1 of the other, which is 0 for a small one.
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

    With t = tanh(y / 2), 1 - exp(-y) = 2 t / (1 + t).

    >>> inverse_softplus(log_softplus(torch.tensor([-500.0, 50.0]))).round(decimals=3).tolist()
    [-500.0, 50.0]
    """
    y = torch.exp(log_y.clamp_min(SMALL))
    t = torch.tanh(y / 2)
    return torch.where(log_y < SMALL, log_y, y + torch.log(2 * t / (1 + t)))


def log_sigmoid(x: Tensor) -> Tensor:
    """log(1 / (1 + exp(-x))), float [...].

    >>> log_sigmoid(torch.tensor([-500.0])).tolist()
    [-500.0]
    """
    return -F.softplus(-x)
