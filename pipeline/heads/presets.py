"""The named heads. Needs no torch.

The first 28 are those of the authors' notebooks: seven pools, each plain, with context gating (cg), with a hidden layer
(fc), and with both. Then the field's pools of vectors, each with a hidden layer; then the pools of scores.
"""

import difflib

from pydantic import ValidationError

from pipeline.errors import SettingsError
from pipeline.heads.registry import SCORE
from pipeline.heads.spec import HeadSpec

_NOTEBOOKS = {
    "average": {"pool": "mean"},
    "attention": {"pool": "attention"},
    "attention2": {"pool": "attention2"},
    "squeeze": {"pool": "squeeze_attention"},
    "squeeze_out": {"pool": "squeeze_attention", "project": True},
    "squeeze_expand": {"pool": "squeeze_expand"},
    "squeeze_expand_out": {"pool": "squeeze_expand", "project": True},
}
_ENDINGS = {
    "": {"hidden": None},
    "_cg": {"gate": "context", "hidden": None},
    "_fc": {},
    "_cg_fc": {"gate": "context"},
}
_FIELD = (
    "max",
    "gem",
    "sum",
    "gated_attention",
    "multi_query",
    "pma",
    "soft_dbow",
    "netvlad",
    "netrvlad",
    "nextvlad",
)

# The highest micro average precision on validation of all that were tried, within 400,000 parameters. It wins because
# it is built as the label is: a set has a label when one of its images has it, so each image is classified by itself
# and the scores meet in an "or"; a pool of vectors must first mix what it will then have to tell apart. Dropout keeps
# it from learning single images by heart, for which a classifier of single images has more occasion than any other.
BEST = "noisy_or_dropout"

PUBLISHED: dict[str, HeadSpec] = {
    f"{name}{ending}": HeadSpec(**parts, **rest)
    for name, parts in _NOTEBOOKS.items()
    for ending, rest in _ENDINGS.items()
}
PRESETS: dict[str, HeadSpec] = {
    **PUBLISHED,
    **{f"{pool}_fc": HeadSpec(pool=pool) for pool in _FIELD},
    **{pool: HeadSpec(pool=pool) for pool in SCORE},
    BEST: HeadSpec(pool="noisy_or", dropout=0.5),
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
