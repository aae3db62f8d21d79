"""Normalisation of what the aggregations of cluster residuals pool."""

from pipeline.heads.lazy import F, Tensor

TINY = 1e-6  # a vector whose mean square is far below it stays near zero: there is nothing to normalise


def to_unit_scale(x: Tensor) -> Tensor:
    """Vectors float [..., k] brought to a mean square of 1.

    Papers bring them to the length 1. That makes each of some thousands of numbers tiny, and the layer behind, at its
    usual start, all but blind. This is that times the root of k. Zeros stay zeros, and so do their gradients.

    >>> import torch
    >>> to_unit_scale(torch.tensor([[3.0, 3.0], [0.0, 0.0]])).round(decimals=3).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    return F.rms_norm(x, x.shape[-1:], eps=TINY)
