"""What a head is made of, and the named ones. Needs no torch."""

import difflib
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from pipeline.errors import SettingsError

VECTOR_POOLS = ("mean", "attention", "attention2", "squeeze_attention", "squeeze_expand")
SCORE_POOLS = ("noisy_or", "logsumexp", "instance_max")


class HeadSpec(BaseModel):
    """A head's parts.

    Attributes:
        pool: how a set becomes one. The first five pool the images' vectors, then classify; the last three classify
            each image, then pool its scores.
        squeeze: width of the squeezed space of squeeze_attention and squeeze_expand.
        project: the pooled vector leaves squeezed (`squeeze` wide) instead of in the original space.
        gate: "context" puts context gating before the classifier.
        gate_activation: the gate's non-linearity; "sigmoid" in Miech et al., "tanh" in the code of the seed's authors.
        hidden: width of the classifier's hidden layer, or null for a linear classifier.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pool: Literal[VECTOR_POOLS + SCORE_POOLS]
    squeeze: PositiveInt = 256
    project: bool = False
    gate: Literal["none", "context"] = "none"
    gate_activation: Literal["sigmoid", "tanh"] = "sigmoid"
    hidden: PositiveInt | None = 256

    @model_validator(mode="after")
    def _only_what_squeezes_can_project(self) -> "HeadSpec":
        if self.project and not self.pool.startswith("squeeze"):
            raise ValueError("project needs a pool that squeezes (squeeze_attention, squeeze_expand)")
        return self


PRESETS = {
    "average": HeadSpec(pool="mean", hidden=None),
    "average_fc": HeadSpec(pool="mean"),
    "attention_cg_fc": HeadSpec(pool="attention", gate="context"),
    "attention2_fc": HeadSpec(pool="attention2"),
    "squeeze_fc": HeadSpec(pool="squeeze_attention"),
    "squeeze_expand_fc": HeadSpec(pool="squeeze_expand"),
    "instance_max": HeadSpec(pool="instance_max"),
    "noisy_or": HeadSpec(pool="noisy_or"),
    "logsumexp": HeadSpec(pool="logsumexp"),
}


def resolve(spec: str | dict | HeadSpec) -> HeadSpec:
    """The parts of a head that is given by a preset's name or a mapping.

    Raises:
        SettingsError: when the name, a key or a value is unknown.
    """
    if isinstance(spec, HeadSpec):
        return spec
    if isinstance(spec, str):
        if spec not in PRESETS:
            near = difflib.get_close_matches(spec, PRESETS, 1)
            raise SettingsError(
                f"unknown head {spec!r}{f'; did you mean {near[0]}?' if near else ''} (presets: {', '.join(PRESETS)})"
            )
        return PRESETS[spec]
    try:
        return HeadSpec.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{key}: " for key in first["loc"])
        raise SettingsError(f"head {spec}: {place}{first['msg'].removeprefix('Value error, ')}") from None
