"""Context gating: a vector weighs its dimensions by what they say together."""

from typing import Literal

from pipeline.heads.lazy import Module, Tensor, nn, torch


class ContextGate(Module):
    """x * sigma(W x + b): A. Miech, I. Laptev and J. Sivic, "Learnable pooling with context gating for video
    classification", 2017; formula (16) of K. Demochkin and A. Savchenko, J. Phys.: Conf. Ser. 1368, 2019.

    d^2 + d parameters. Departure: none; `activation` "tanh" is what the code of the seed's authors has for sigma.

    >>> ContextGate(3, "sigmoid")(torch.zeros(2, 3)).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, dim: int, activation: Literal["sigmoid", "tanh"]):
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.activation = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}[activation]

    def forward(self, x: Tensor) -> Tensor:
        """float [..., d] to float [..., d]."""
        return x * self.activation(self.linear(x))
