"""Sum pooling of features, the general form of a function of a set."""

from typing import Literal

from pipeline.heads.layers.masking import expand_mask, shares
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, Size, VectorPoolSpec


class SumSpec(VectorPoolSpec):
    """The head of SumPool.

    Attributes:
        inner_dim: numbers that each vector is mapped to before it is pooled.
    """

    pool: Literal["sum"] = "sum"
    inner_dim: Size = 256

    def pool_parameters(self, dim: int, classes: int) -> int:
        """As HeadSpec has it."""
        return self.inner_dim * (dim + 1)

    def output_dim(self, dim: int) -> int:
        """As HeadSpec has it."""
        return self.inner_dim

    def merging(self) -> Merging:
        """As HeadSpec has it."""
        return Merging(layers=("phi",), keeps_space=False)

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return SumPool(dim, self.inner_dim)


class SumPool(Module):
    """log(1 + sum of phi(x(m))), phi(x) = ReLU(W x + b), after M. Zaheer, S. Kottur, S. Ravanbakhsh, B. Poczos,
    R. Salakhutdinov and A. Smola, "Deep sets", NIPS 2017; their rho is the classifier.

    With e = `inner_dim`: e (d + 1) parameters. Departure: the logarithm. The sum grows with the set, and a classifier
    that was trained on small sets meets numbers it has never seen; of phi, which is at least 0, the logarithm still
    tells one image in favour from none, and many from one.

    An image's importance is its share of the sum over all of phi's dimensions.
    """

    def __init__(self, dim: int, inner_dim: int):
        super().__init__()
        self.phi = nn.Linear(dim, inner_dim)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, e] and the importance float [b, s]."""
        features = torch.relu(self.phi(x))
        features = features.masked_fill(~expand_mask(mask, features), 0.0)
        return torch.log1p(features.sum(1)), shares(features.sum(-1, keepdim=True), mask)
