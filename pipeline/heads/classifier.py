"""Heads put together: standardisation, a pool, a gate, a classifier."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from pipeline.core.errors import SettingsError
from pipeline.heads.layers.dropout import Dropout
from pipeline.heads.layers.gating import ContextGate
from pipeline.heads.layers.masking import column_shares, fill_with_lowest
from pipeline.heads.layers.softplus import log_sigmoid
from pipeline.heads.spec import HeadSpec, ScorePoolSpec


class SetClassifier(nn.Module):
    """What every head is: vectors of a set to a score for each label.

    The vectors' mean and standard deviation on the training images are part of it, as buffers: a head takes a
    backbone's vectors as they come. One whose spec has `standardised: false` has neither.

    Its calibration is part of it too: logits leave it as slope z + offset, so that their sigmoid means what it says
    (`training/calibration.py`). Until a head is calibrated they are 1 and 0. The slope is above 0: no order changes.

    Attributes:
        spec: what it is made of.
        dim: d, numbers a vector.
        classes: c, how many labels.
        slope: float [].
        offset: float [].
    """

    mean: Tensor
    std: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, spec: HeadSpec, dim: int, classes: int):
        super().__init__()
        self.spec, self.dim, self.classes = spec, dim, classes
        self.dropout = Dropout(spec.dropout)
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))
        if spec.standardised:
            self.register_buffer("mean", torch.zeros(dim))
            self.register_buffer("std", torch.ones(dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """float32 [b, s, d], bool [b, s] (True: an image) to logits float32 [b, c]."""
        return self.logits(self.standardised(x, mask), mask)

    def logits(self, x: Tensor, mask: Tensor) -> Tensor:
        """As forward, for vectors that are standardised already, zeros at padding: training does that only once."""
        return self._calibrated(self._pool(self.dropout(x), self._visible(mask))[0])

    def logits_of_rows(self, vectors: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """As `logits`, for sets that share images.

        Args:
            vectors: standardised vectors of distinct images, float32 [m, d], and zeros in the row that padding has.
            rows: each set's images among them, int64 [b, s].
            mask: bool [b, s].

        Returns:
            float32 [b, c].
        """
        return self.logits(vectors[rows], mask)

    def importance(self, x: Tensor, mask: Tensor) -> Tensor:
        """How much each image counted: float32 [b, s], which sums to 1 over a set's images; 0 at padding."""
        return self._pool(self.standardised(x, mask), self._visible(mask))[1]

    @abstractmethod
    def importance_by_label(self, x: Tensor, mask: Tensor) -> Tensor:
        """How much each image speaks for each label: float [b, s, c], columns sum to 1 over a set's images; padding: 0.

        >>> from pipeline.heads.presets import preset
        >>> head = build_head(preset("attention_fc"), dim=8, classes=3)
        >>> head.importance_by_label(torch.zeros(1, 2, 8), torch.ones(1, 2, dtype=torch.bool))[0, :, 0].tolist()
        [0.5, 0.5]
        """

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Sets the training images' mean and standard deviation, float [d] each.

        Raises:
            SettingsError: when the head takes vectors as they come, for it was then trained on others.
        """
        if not self.spec.standardised:
            raise SettingsError("this head has standardised: false, and must be trained on vectors as they come")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def calibrate(self, slope: float, offset: float) -> None:
        """Sets what logits are multiplied by, above 0, and what is then added."""
        self.slope.fill_(slope)
        self.offset.fill_(offset)

    def uncalibrated(self, logits: Tensor) -> Tensor:
        """What logits were before slope and offset: float [...] to the same."""
        return (logits - self.offset) / self.slope

    def parameter_count(self) -> int:
        """Trained numbers; standardisation and calibration are measured, not trained, and not counted."""
        return sum(parameter.numel() for parameter in self.parameters())

    def standardised(self, x: Tensor, mask: Tensor) -> Tensor:
        """Standardised vectors, and zeros at padding: a weight of 0 would not stop a NaN there.

        Args:
            x: float32 [..., d], as the backbone gives them.
            mask: bool [...].
        """
        x = (x - self.mean) / self.std if self.spec.standardised else x
        return x.masked_fill(~mask.unsqueeze(-1), 0.0)

    def _calibrated(self, logits: Tensor) -> Tensor:
        return self.slope * logits + self.offset

    def _visible(self, mask: Tensor) -> Tensor:
        """What takes part: the images, or whatever there is."""
        return mask if self.spec.mask_padding else torch.ones_like(mask)

    @abstractmethod
    def _pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised vectors to logits [b, c] and importance [b, s]."""


class VectorPoolClassifier(SetClassifier):
    """Pools the images' vectors, gates the pooled one, classifies it. An empty set pools to zeros.

    A folded head pools in another space, where zeros mean something else: the buffer `empty`, float [c], is added to
    the logits of an empty set, and makes them what they were. It is zeros in a head that was not folded.
    """

    empty: Tensor

    def __init__(self, spec: HeadSpec, dim: int, classes: int):
        super().__init__(spec, dim, classes)
        output_dim = spec.output_dim(dim)
        self.pool = spec.build_pool(dim, classes)
        self.gate, self.classifier = _gate(spec, output_dim), _classifier(spec, output_dim, classes)
        if not spec.standardised:
            self.register_buffer("empty", torch.zeros(classes))

    def importance_by_label(self, x: Tensor, mask: Tensor) -> Tensor:
        """As SetClassifier has it: an image's weight in the pool, times the label's probability for it alone."""
        weights = self.importance(x, mask)
        alone = self.forward(x.flatten(0, 1).unsqueeze(1), mask.flatten().unsqueeze(1))
        likely = fill_with_lowest(log_sigmoid(alone).unflatten(0, mask.shape), mask)
        likely = torch.exp(likely - likely.amax(1, keepdim=True))  # of the likeliest photo: no probability is too low
        return column_shares(weights.unsqueeze(-1) * likely, mask)

    def logits_of_nothing(self) -> Tensor:
        """Logits of an empty set before calibration, float [c], as in evaluation."""
        training = self.training
        logits, _ = self.eval()._pool(torch.zeros(1, 1, self.dim), self._visible(torch.zeros(1, 1, dtype=torch.bool)))
        self.train(training)
        return logits[0]

    def _pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        pooled, weights = self.pool(x, mask)
        logits = self.classifier(self.gate(pooled))
        if not self.spec.standardised:
            logits = logits + self.empty * ~mask.any(1, keepdim=True)
        return logits, weights


class ScorePoolClassifier(SetClassifier):
    """Gates and classifies each image, then pools each label's scores over the set.

    An image's importance is its share in each label's score, weighted by the label's probability.
    """

    def __init__(self, spec: HeadSpec, dim: int, classes: int):
        super().__init__(spec, dim, classes)
        self.gate, self.classifier = _gate(spec, dim), _classifier(spec, dim, classes)
        self.pool = spec.build_pool(dim, classes)

    def logits_of_rows(self, vectors: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """As SetClassifier has it; an image that several sets show is classified once, and padding not at all."""
        if self.pool.reads_vectors or not self.spec.mask_padding:
            return super().logits_of_rows(vectors, rows, mask)
        distinct, position = torch.unique(rows[mask], return_inverse=True)
        scores = self.classifier(self.gate(self.dropout(vectors[distinct])))
        z = scores.new_zeros(*mask.shape, self.classes)
        z[mask] = scores[position]
        return self._calibrated(self.pool(z, z, mask)[0])  # the pool does not look at its second argument, the vectors

    def importance_by_label(self, x: Tensor, mask: Tensor) -> Tensor:
        """As SetClassifier has it: an image's share in the label's score."""
        x, visible = self.standardised(x, mask), self._visible(mask)
        return column_shares(self.pool(self.classifier(self.gate(x)), x, visible)[1], mask)

    def _pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        logits, share = self.pool(self.classifier(self.gate(x)), x, mask)
        probability = torch.softmax(log_sigmoid(logits), 1)  # label weights, summing to 1
        return logits, (share * probability.unsqueeze(1)).sum(-1)


def build_head(spec: HeadSpec, dim: int, classes: int) -> SetClassifier:
    """Builds the untrained head that a spec describes. Random numbers are drawn from torch's generator.

    Args:
        spec: its parts.
        dim: d, numbers a vector.
        classes: c, how many labels.

    >>> from pipeline.heads.presets import preset
    >>> head = build_head(preset("attention_fc"), dim=8, classes=3)
    >>> head(torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)).shape
    torch.Size([2, 3])
    """
    family = ScorePoolClassifier if isinstance(spec, ScorePoolSpec) else VectorPoolClassifier
    return family(spec, dim, classes)


def _gate(spec: HeadSpec, dim: int) -> nn.Module:
    return ContextGate(dim, spec.gate_activation) if spec.gate == "context" else nn.Identity()


def _classifier(spec: HeadSpec, dim: int, classes: int) -> nn.Module:
    """FC: a hidden layer with ReLU, then a linear layer; or the linear layer alone."""
    if spec.hidden is None:
        return nn.Linear(dim, classes)
    activation = nn.Sequential(nn.ReLU(), Dropout(spec.dropout))
    return nn.Sequential(nn.Linear(dim, spec.hidden), activation, nn.Linear(spec.hidden, classes))
