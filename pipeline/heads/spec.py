"""What a head is made of, and what follows from it: its size, and whether an adapter can be merged in. Needs no torch.

Every pool has a class of spec in its file under `pools/`. It adds the pool's options to those that all heads have, and
says how many parameters the pool has, how long the vectors are that leave it, and how it is merged and built.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.heads.lazy import Module

Size = Annotated[int, Field(gt=0, le=8192)]  # of a layer, or a count of parts


@dataclass(frozen=True)
class Merging:
    """How an affine map of the images' vectors, x A + t, is merged into a pool.

    Parameters are named as in the pool's state, such as "query" or "first.squeeze.weight".

    Attributes:
        rows: parameters [..., d] whose rows score vectors; t cancels in the softmax over the images.
        columns: matrices [d, ...] that make a query, which scores vectors; t cancels here too.
        layers: linear layers with a bias that take the vectors.
        queries: parameters into which the scale of the scores is multiplied (`QueryPoolSpec`).
        keeps_space: whether what the classifier takes lies in the space of the vectors, so that it meets the map too:
            a weighted sum of them with weights that sum to 1, several such sums one behind the other, or, in front of
            a pool of scores, the vectors themselves.
        obstacle: why nothing can be merged, in a few words; None: it can.
    """

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    keeps_space: bool = True
    obstacle: str | None = None


class HeadSpec(BaseModel):
    """The parts that every head has; the base of the pools' specs.

    Attributes:
        pool: what makes one vector or one score of a set; the name of a file under `pools/`.
        gate: "context" puts context gating before the classifier.
        gate_activation: the gate's non-linearity; "sigmoid" in Miech et al., "tanh" in the code of the seed's authors.
        hidden: how many numbers the classifier's hidden layer has, or null for a linear classifier.
        dropout: share of the vectors' numbers, and of the hidden layer's, that are left out at random in training.
        tune_dropout: true: training chooses the dropout, among train.dropouts, as validation has it.
        mask_padding: false: padding, as zeros, takes part as if it were images.
        standardised: the head standardises its vectors; false: it takes them as they come.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pool: str
    gate: Literal["none", "context"] = "none"
    gate_activation: Literal["sigmoid", "tanh"] = "sigmoid"
    hidden: Size | None = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tune_dropout: bool = False
    mask_padding: bool = True
    standardised: bool = True

    @model_validator(mode="after")
    def _activation_has_a_gate(self) -> Self:
        if self.gate == "none" and self.gate_activation != "sigmoid":
            raise ValueError("gate_activation needs gate: context")
        return self

    def regularised(self) -> Self:
        """The same head with a dropout that training chooses.

        >>> from pipeline.heads.presets import preset
        >>> preset("average").regularised().tune_dropout
        True
        """
        return self.model_copy(update={"tune_dropout": True})

    def as_published(self) -> Self:
        """The same head without what tuning may choose of it."""
        return self.model_copy(update={"tune_dropout": False})

    def pool_parameters(self, dim: int, classes: int) -> int:
        """How many trained numbers the pool has, for d = `dim` and c = `classes`.

        >>> from pipeline.heads.presets import preset
        >>> preset("attention").pool_parameters(dim=1280, classes=18)
        1280
        """
        return 0

    def output_dim(self, dim: int) -> int:
        """How many numbers a vector has that the gate and the classifier take, for d = `dim`.

        >>> from pipeline.heads.presets import preset
        >>> preset("squeeze_out").output_dim(dim=1280), preset("noisy_or").output_dim(dim=1280)
        (256, 1280)
        """
        return dim

    def merging(self) -> Merging:
        """How an affine map of the vectors is merged into the pool.

        >>> from pipeline.heads.presets import preset
        >>> preset("attention").merging().rows
        ('query',)
        """
        return Merging(obstacle="its pool does not say how")

    @abstractmethod
    def build_pool(self, dim: int, classes: int) -> Module:
        """The untrained pool, for d = `dim` and c = `classes`. Imports torch.

        >>> from pipeline.heads.presets import preset
        >>> preset("attention").build_pool(dim=8, classes=3).query.shape
        torch.Size([8])
        """

    def obstacle(self) -> str | None:
        """Why an affine map of the vectors, such as an adapter, cannot be merged in, in a few words; None: it can.

        >>> from pipeline.heads.presets import preset
        >>> preset("average_cg").obstacle()
        'context gating multiplies the vector itself'
        """
        if self.gate == "context":
            return "context gating multiplies the vector itself"
        if not self.mask_padding:
            return "padding takes part, and has no vector to map"
        return self.merging().obstacle

    def parameter_count(self, dim: int, classes: int) -> int:
        """How many trained numbers the head has.

        Args:
            dim: d.
            classes: c.

        >>> from pipeline.heads.presets import preset
        >>> preset("average").parameter_count(dim=1024, classes=1000)
        1025000
        """
        size = self.output_dim(dim)
        gate = size * size + size if self.gate == "context" else 0
        hidden, last = (0, size) if self.hidden is None else (self.hidden * (size + 1), self.hidden)
        return self.pool_parameters(dim, classes) + gate + hidden + classes * (last + 1)


class VectorPoolSpec(HeadSpec):
    """A head that pools the images' vectors, then classifies what it pooled.

    `build_pool` gives a module. It takes x float [b, s, d], zeros at padding, and a mask bool [b, s]. It gives the
    pooled vectors, float [b, output_dim], and how much each image counted in them, float [b, s]: this sums to 1 over a
    set's images and is 0 at padding. An empty set pools to zeros.
    """


class QueryPoolSpec(VectorPoolSpec):
    """A head whose pool scores vectors by queries.

    A learnt query of k numbers (`Merging.queries`) scores with the scale 1 / root of k, a query of d numbers that is
    made anew for each set (`Merging.columns`) with the scale 1 / d.

    Attributes:
        scale_scores: attention scores have this scale; false: they are as published, without one.
    """

    scale_scores: bool = True


class ScorePoolSpec(HeadSpec):
    """A head that classifies each image, then pools each label's scores over the set.

    `build_pool` gives a `ScorePool` (`layers/score_pool.py`).
    """

    def merging(self) -> Merging:
        """As HeadSpec has it; a pool of scores that reads vectors too has to say how it takes the map."""
        return Merging()
