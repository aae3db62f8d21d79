"""Context gating: a vector weighs its own dimensions."""

import torch
from torch import Tensor, nn


class ContextGate(nn.Module):
    """x * sigma(W x + b), formula (16), from A. Miech et al., "Learnable pooling with context gating", 2017.

    D^2 + D parameters. Departure: none; `activation` "tanh" is what the code of the seed's authors has for sigma.
    """

    def __init__(self, dim: int, activation: str):
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.activation = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}[activation]

    def forward(self, x: Tensor) -> Tensor:
        """float [..., d] to float [..., d]."""
        return x * self.activation(self.linear(x))
