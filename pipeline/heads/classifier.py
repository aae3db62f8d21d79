"""Heads put together: standardisation, a pool, a gate, a classifier."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from pipeline.heads.gating import ContextGate
from pipeline.heads.pooling import (
    AttentionPool,
    MeanPool,
    SqueezeAttentionPool,
    SqueezeExpandPool,
    TwoLayerAttentionPool,
)
from pipeline.heads.presets import HeadSpec
from pipeline.heads.scores import SCORE_POOLS, ScorePool

SMALLEST_STD = 1e-6  # a dimension that does not vary on the training images is left as it is, less its mean


class SetClassifier(nn.Module):
    """What every head is: vectors of a set to a score for each label.

    The vectors' mean and standard deviation on the training images are part of it, as buffers: a head takes a
    backbone's vectors as they come.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """float32 [b, s, d], bool [b, s] (True: an image) to logits float32 [b, c]."""
        return self.logits(self._standardised(x, mask), mask)

    def logits(self, x: Tensor, mask: Tensor) -> Tensor:
        """As forward, for vectors that are standardised already, zeros at padding: training does that only once."""
        return self._pool(x, mask)[0]

    def importance(self, x: Tensor, mask: Tensor) -> Tensor:
        """How much each image counted: float32 [b, s], which sums to 1 over a set's images; 0 at padding."""
        return self._pool(self._standardised(x, mask), mask)[1]

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Sets the training images' mean and standard deviation, float [d] each."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > SMALLEST_STD, std, 1.0))

    def parameter_count(self) -> int:
        """Trained numbers; the two standardisation vectors are measured, not trained, and not counted."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _standardised(self, x: Tensor, mask: Tensor) -> Tensor:
        """Standardised vectors, and zeros at padding: a weight of 0 would not stop a NaN there."""
        return ((x - self.mean) / self.std).masked_fill(~mask.unsqueeze(-1), 0.0)

    @abstractmethod
    def _pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised vectors to logits [b, c] and importance [b, s]."""


class VectorPoolClassifier(SetClassifier):
    """Pools the images' vectors, gates the pooled one, classifies it. An empty set pools to zeros."""

    def __init__(self, dim: int, pool: nn.Module, gate: nn.Module, classifier: nn.Module):
        super().__init__(dim)
        self.pool, self.gate, self.classifier = pool, gate, classifier

    def _pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        pooled, weights = self.pool(x, mask)
        return self.classifier(self.gate(pooled)), weights


class ScorePoolClassifier(SetClassifier):
    """Gates and classifies each image, then pools each label's scores over the set.

    An image's importance is its share in each label's score, weighted by the label's probability.
    """

    def __init__(self, dim: int, gate: nn.Module, classifier: nn.Module, pool: ScorePool):
        super().__init__(dim)
        self.gate, self.classifier, self.pool = gate, classifier, pool

    def _pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        logits, share = self.pool(self.classifier(self.gate(x)), mask)
        probability = torch.softmax(torch.nn.functional.logsigmoid(logits), 1)  # label weights, summing to 1
        return logits, (share * probability.unsqueeze(1)).sum(-1)


def assemble(spec: HeadSpec, dim: int, classes: int) -> SetClassifier:
    """Builds the head that a spec describes, untrained, for d = `dim` and c = `classes`."""
    if spec.pool in SCORE_POOLS:
        gate, classifier = _gate(spec, dim), _classifier(spec, dim, classes)
        return ScorePoolClassifier(dim, gate, classifier, SCORE_POOLS[spec.pool])
    pool = _vector_pool(spec, dim)
    width = pool.out_features
    return VectorPoolClassifier(dim, pool, _gate(spec, width), _classifier(spec, width, classes))


def _vector_pool(spec: HeadSpec, dim: int) -> nn.Module:
    makers = {
        "mean": lambda: MeanPool(dim),
        "attention": lambda: AttentionPool(dim),
        "attention2": lambda: TwoLayerAttentionPool(dim),
        "squeeze_attention": lambda: SqueezeAttentionPool(dim, spec.squeeze, spec.project),
        "squeeze_expand": lambda: SqueezeExpandPool(dim, spec.squeeze, spec.project),
    }
    return makers[spec.pool]()


def _gate(spec: HeadSpec, width: int) -> nn.Module:
    return ContextGate(width, spec.gate_activation) if spec.gate == "context" else nn.Identity()


def _classifier(spec: HeadSpec, width: int, classes: int) -> nn.Module:
    """FC: a hidden layer with ReLU, then a linear layer; or the linear layer alone."""
    if spec.hidden is None:
        return nn.Linear(width, classes)
    return nn.Sequential(nn.Linear(width, spec.hidden), nn.ReLU(), nn.Linear(spec.hidden, classes))
