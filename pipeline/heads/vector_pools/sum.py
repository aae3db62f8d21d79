"""Sum pooling of features, the general form of a function of a set."""

import torch
from torch import Tensor, nn

from pipeline.heads.masking import beside, shares


class SumPool(nn.Module):
    """log(1 + sum of phi(x(m))), phi(x) = ReLU(W x + b), after M. Zaheer, S. Kottur, S. Ravanbakhsh, B. Poczos,
    R. Salakhutdinov and A. Smola, "Deep sets", NIPS 2017; their rho is the classifier.

    With w = `width`: w (d + 1) parameters. Departure: the logarithm. The sum grows with the set, and a classifier that
    was trained on small sets meets numbers it has never seen; of phi, which is at least 0, the logarithm still tells
    one image in favour from none, and many from one.

    An image's importance is its share of the sum over all of phi's dimensions.
    """

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.phi = nn.Linear(dim, width)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, w] and the importance float [b, s]."""
        features = torch.relu(self.phi(x))
        features = features.masked_fill(~beside(mask, features), 0.0)
        return torch.log1p(features.sum(1)), shares(features.sum(-1, keepdim=True), mask)
