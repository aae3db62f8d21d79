"""What a head is made of, and what follows from it: its size, and whether it can be merged. Needs no torch."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from pipeline.heads.registry import OPTIONS, POOLS, Pool, pools_with


class HeadSpec(BaseModel):
    """A head's parts. Options that only some pools have are refused for the others, and filled in where left out.

    Attributes:
        pool: how a set becomes one: a name of `registry.VECTOR` (pools the images' vectors, then classifies) or of
            `registry.SCORE` (classifies each image, then pools its scores).
        squeeze: width of the squeezed space.
        project: the pooled vector leaves squeezed (`squeeze` wide) instead of in the original space.
        rank: width inside the second layer of low_rank_attention2.
        queries: how many learnt queries; each pools a vector of its own, and they are concatenated.
        attention_heads: heads of multi-head attention; they divide `width`.
        attention_width: width of gated attention; null for instance_attention: scores that are linear in the vector.
        feed_forward: whether the transformer's feed-forward layer follows its attention.
        width: of the space that each vector is mapped to before it is pooled.
        clusters: how many, or words.
        groups: parts of a vector that are assigned to clusters one by one; they divide `width`.
        divide_by: the sum is divided by this instead of by the number of images.
        scale_scores: attention scores are scaled by the width; false: they are as published.
        gate: "context" puts context gating before the classifier.
        gate_activation: the gate's non-linearity; "sigmoid" in Miech et al., "tanh" in the code of the seed's authors.
        hidden: width of the classifier's hidden layer, or null for a linear classifier.
        dropout: share of the vectors' numbers, and of the hidden layer's, that are left out at random in training.
        mask_padding: false: padding, as zeros, takes part as if it were images.
        standardised: the head standardises its vectors; false: it takes them as they come.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pool: Literal[tuple(POOLS)]
    squeeze: PositiveInt | None = None
    project: bool | None = None
    rank: PositiveInt | None = None
    queries: PositiveInt | None = None
    attention_heads: PositiveInt | None = None
    attention_width: PositiveInt | None = None
    feed_forward: bool | None = None
    width: PositiveInt | None = None
    clusters: PositiveInt | None = None
    groups: PositiveInt | None = None
    divide_by: PositiveInt | None = None
    scale_scores: bool | None = None
    gate: Literal["none", "context"] = "none"
    gate_activation: Literal["sigmoid", "tanh"] | None = None
    hidden: PositiveInt | None = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mask_padding: bool = True
    standardised: bool = True

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Defaults of the pool's own options and of the gate's; what has neither is refused."""
        if not isinstance(given, dict) or given.get("pool") not in list(POOLS):
            return given
        defaults = POOLS[given["pool"]].options
        for option in given:
            if option in OPTIONS and option not in defaults:
                able = f"needs a pool that {OPTIONS[option]} ({', '.join(pools_with(option))})"
                raise ValueError(f"{option} {able}, not {given['pool']}")
        if given.get("gate") == "context":
            return {**defaults, "gate_activation": "sigmoid", **given}
        if "gate_activation" in given:
            raise ValueError("gate_activation needs gate: context")
        return {**defaults, **given}

    @model_validator(mode="after")
    def _fits_together(self) -> "HeadSpec":
        needed = [option for option, default in self.traits.options.items() if default is not None]
        needed += ["gate_activation"] if self.gate == "context" else []
        for option in needed:
            if getattr(self, option) is None:
                raise ValueError(f"{option} needs a value")
        for parts in ("attention_heads", "groups"):
            if (number := getattr(self, parts)) and self.width % number:
                raise ValueError(f"width {self.width} cannot be divided into {number} {parts}")
        return self

    @model_serializer(mode="wrap")
    def _what_applies(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Every key that this head has, and no other."""
        absent = OPTIONS.keys() - self.traits.options.keys()
        absent |= {"gate_activation"} if self.gate == "none" else set()
        return {key: value for key, value in whole(self).items() if key not in absent}

    @property
    def traits(self) -> Pool:
        """What the registry has on the pool."""
        return POOLS[self.pool]

    def options(self) -> dict[str, Any]:
        """The pool's own options."""
        return {option: getattr(self, option) for option in self.traits.options}


def parameter_count(spec: HeadSpec, dim: int, classes: int) -> int:
    """How many trained numbers a head has for d = `dim` and c = `classes`, by its parts' formulas."""
    width = spec.traits.width(spec, dim)
    gate = width * width + width if spec.gate == "context" else 0
    hidden, last = (0, width) if spec.hidden is None else (spec.hidden * (width + 1), spec.hidden)
    return spec.traits.parameters(spec, dim, classes) + gate + hidden + classes * (last + 1)


def obstacle(spec: HeadSpec) -> str | None:
    """Why an affine map of the vectors cannot be merged into a head, in a few words; None where it can."""
    if spec.gate == "context":
        return "context gating multiplies the vector itself"
    if not spec.mask_padding:
        return "padding takes part, and has no vector to map"
    if spec.divide_by is not None:
        return "its weights do not sum to one"
    return spec.traits.obstacle


def can_merge(spec: HeadSpec) -> bool:
    """Whether an affine map of the vectors, such as an adapter between backbones, can be merged into a head."""
    return obstacle(spec) is None
