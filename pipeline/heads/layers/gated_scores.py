"""Scores of images by a learnt feature that a learnt gate lets through."""

from pipeline.heads.lazy import Module, Tensor, nn, torch


class GatedScores(Module):
    """w (tanh(V x + v) * sigmoid(U x + u)), from M. Ilse, J. Tomczak and M. Welling, "Attention-based deep multiple
    instance learning", ICML 2018.

    With L = `attention_dim` and k = `outputs`: 2 L (d + 1) + L k parameters. Departure: V and U have biases, and there
    may be several w, each for a column of scores.
    """

    def __init__(self, dim: int, attention_dim: int, outputs: int):
        super().__init__()
        self.features = nn.Linear(dim, attention_dim)
        self.gate = nn.Linear(dim, attention_dim)
        self.score = nn.Linear(attention_dim, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """float [b, s, d] to scores float [b, s, k]."""
        return self.score(torch.tanh(self.features(x)) * torch.sigmoid(self.gate(x)))


def gated_score_parameters(dim: int, attention_dim: int, outputs: int) -> int:
    """How many parameters GatedScores has.

    >>> gated_score_parameters(dim=1280, attention_dim=128, outputs=1)
    328064
    """
    return 2 * attention_dim * (dim + 1) + attention_dim * outputs
