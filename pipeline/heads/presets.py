"""The named heads. Needs no torch.

The published 28 are those of the authors' notebooks: seven pools, each plain, with context gating (cg), with a hidden
layer (fc), and with both. Every other pool gives one more: of vectors with a hidden layer, POOL_fc; of scores, POOL.
Each name with _dropout at its end means the same head, regularised: validation chooses its dropout.
"""

import difflib
import json
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.heads.registry import parse, specs
from pipeline.heads.spec import HeadSpec, ScorePoolSpec

_NOTEBOOKS: dict[str, dict[str, Any]] = {
    "average": {"pool": "mean"},
    "attention": {"pool": "attention"},
    "attention2": {"pool": "attention2"},
    "squeeze": {"pool": "squeeze_attention"},
    "squeeze_out": {"pool": "squeeze_attention", "project": True},
    "squeeze_expand": {"pool": "squeeze_expand"},
    "squeeze_expand_out": {"pool": "squeeze_expand", "project": True},
}
_ENDINGS: dict[str, dict[str, Any]] = {
    "": {"hidden": None},
    "_cg": {"gate": "context", "hidden": None},
    "_fc": {},
    "_cg_fc": {"gate": "context"},
}

# The highest micro average precision on validation of all that were tried, within 400,000 parameters. It wins because
# it is built as the label is: a set has a label when one of its images has it, so each image is classified by itself
# and the scores meet in an "or"; a pool of vectors must first mix what it will then have to tell apart. Dropout keeps
# it from learning single images by heart, for which a classifier of single images has more occasion than any other.
BEST = "noisy_or_dropout"
REGULARISED = "_dropout"
IMAGE_CLASSIFIER, NEAREST_IMAGES = "image_classifier", "nearest_images"  # what heads are held against

PUBLISHED: dict[str, HeadSpec] = {
    f"{name}{ending}": parse({**parts, **rest})
    for name, parts in _NOTEBOOKS.items()
    for ending, rest in _ENDINGS.items()
}
_IN_NOTEBOOKS = {spec.pool for spec in PUBLISHED.values()}
PRESETS: dict[str, HeadSpec] = {
    **PUBLISHED,
    **{
        pool if issubclass(spec, ScorePoolSpec) else f"{pool}_fc": parse({"pool": pool})
        for pool, spec in specs().items()
        if pool not in _IN_NOTEBOOKS
    },
}
# Trained on single images with their own labels, this is the classifier that noisy_or has for each image.
REFERENCES = {IMAGE_CLASSIFIER: PRESETS["noisy_or"].regularised()}


def preset(name: str) -> HeadSpec:
    """A named head; "NAME_dropout" is the regularised one.

    Raises:
        SettingsError: when there is none of that name; with the nearest name.

    >>> preset("squeeze_out_fc").model_dump(include={"pool", "squeeze", "project", "hidden"})
    {'pool': 'squeeze_attention', 'hidden': 256, 'squeeze': 256, 'project': True}
    """
    if (base := name.removesuffix(REGULARISED)) in PRESETS and base != name:
        return PRESETS[base].regularised()
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1)
        raise SettingsError(
            f"unknown head {name!r}{f'; did you mean {near[0]}?' if near else ''} (presets: {', '.join(PRESETS)})"
        )
    return PRESETS[name]


def listing(dim: int, classes: int, *, as_json: bool) -> str:
    """The named heads and their parameters for d = `dim` and c = `classes`, as lines for people or as JSON.

    >>> listing(1024, 1000, as_json=False).splitlines()[0].split()
    ['average', '1,025,000']
    """
    counts = {name: spec.parameter_count(dim, classes) for name, spec in PRESETS.items()}
    if as_json:
        rows = [{"name": name, "parameters": counts[name], "spec": PRESETS[name].model_dump()} for name in PRESETS]
        return json.dumps(rows, indent=2)
    lines = [f"{name:26s} {count:>12,}" for name, count in counts.items()]
    return "\n".join([*lines, f"NAME{REGULARISED}: any of these, with the dropout that validation chooses"])
