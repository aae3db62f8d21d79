"""Pools that the program does not know: what someone who adds a head writes."""

TWICE = '''"""Twice the average."""

from typing import Literal

from pipeline.heads.layers.masking import uniform_weights, weighted_sum
from pipeline.heads.lazy import Module, Tensor
from pipeline.heads.spec import VectorPoolSpec


class TwiceSpec(VectorPoolSpec):
    """The head of Twice."""

    pool: Literal["twice"] = "twice"

    def build_pool(self, dim: int, classes: int) -> Module:
        """As HeadSpec has it."""
        return Twice()


class Twice(Module):
    """Twice the average of the set's vectors."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """float [b, s, d], bool [b, s] to the pooled float [b, d] and the weights float [b, s]."""
        weights = uniform_weights(mask)
        return 2 * weighted_sum(weights, x), weights
'''

PROBE = '''"""Attention by a probe, behind a layer of the vectors; it says how it is merged."""

from typing import Literal

from pipeline.heads.layers.masking import masked_softmax, weighted_sum
from pipeline.heads.lazy import Module, Tensor, nn, torch
from pipeline.heads.spec import Merging, QueryPoolSpec


class ProbeSpec(QueryPoolSpec):
    """The head of Probe."""

    pool: Literal["probe"] = "probe"
    probes: int = 2

    def pool_parameters(self, dim: int, classes: int) -> int:
        return self.probes * dim + dim + 1

    def merging(self) -> Merging:
        return Merging(rows=("probe",), queries=("probe",), layers=("bias",))

    def build_pool(self, dim: int, classes: int) -> Module:
        return Probe(dim, self.probes, self.scale_scores)


class Probe(Module):
    def __init__(self, dim: int, probes: int, scale_scores: bool):
        super().__init__()
        self.probe = nn.Parameter(torch.randn(probes, dim))
        self.bias = nn.Linear(dim, 1)
        self.scale = dim**-0.5 if scale_scores else 1.0

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        scores = (x @ self.probe.T).sum(-1) * self.scale + torch.tanh(self.bias(x)).squeeze(-1)
        weights = masked_softmax(scores, mask)
        return weighted_sum(weights, x), weights
'''
