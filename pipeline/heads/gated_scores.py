"""Gated attention scores: how much each image counts, by a learnt feature that a learnt gate lets through."""

import torch
from torch import Tensor, nn


class GatedScores(nn.Module):
    """w (tanh(V x + v) * sigmoid(U x + u)), from M. Ilse, J. Tomczak and M. Welling, "Attention-based deep multiple
    instance learning", ICML 2018.

    With L = `width` and k = `outputs`: 2 L (d + 1) + L k parameters. Departure: V and U have biases, and there may be
    several w, one for each column of scores.
    """

    def __init__(self, dim: int, width: int, outputs: int):
        super().__init__()
        self.features = nn.Linear(dim, width)
        self.gate = nn.Linear(dim, width)
        self.score = nn.Linear(width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """float [b, s, d] to scores float [b, s, k]."""
        return self.score(torch.tanh(self.features(x)) * torch.sigmoid(self.gate(x)))
