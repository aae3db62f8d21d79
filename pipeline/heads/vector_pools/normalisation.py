"""Normalisation of what the aggregations of cluster residuals pool."""

import torch.nn.functional as F
from torch import Tensor

TINY = 1e-6  # a vector whose mean square is far below it stays near zero: there is nothing to normalise


def to_unit_scale(x: Tensor) -> Tensor:
    """Vectors float [..., w] brought to a mean square of 1.

    Papers bring them to the length 1, which makes each of some thousands of numbers tiny, and the layer behind, at its
    usual start, all but blind; this is that, times the root of the width. Zeros stay zeros, and so do their gradients.
    """
    return F.rms_norm(x, x.shape[-1:], eps=TINY)
