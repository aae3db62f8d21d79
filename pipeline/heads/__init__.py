"""Set classifiers: heads that turn the vectors of a set of images into a score for each label.

A head is described by a HeadSpec (`spec.py`), and built from it by `build_head`. Shapes everywhere: b sets, s images a
set at most, d numbers a vector, c labels.
"""

from typing import TYPE_CHECKING

from pipeline.heads.presets import PRESETS, PUBLISHED, resolve
from pipeline.heads.spec import HeadSpec, can_merge, parameter_count

if TYPE_CHECKING:
    from pipeline.heads.classifier import SetClassifier

__all__ = ["PRESETS", "PUBLISHED", "HeadSpec", "build_head", "can_merge", "parameter_count", "resolve"]


def build_head(spec: "str | dict | HeadSpec", dim: int, classes: int) -> "SetClassifier":
    """Builds an untrained head.

    Args:
        spec: a preset's name, or what a HeadSpec takes.
        dim: d, the width of the backbone's vectors.
        classes: c, the number of labels.

    Raises:
        SettingsError: when the preset or a key or value of the mapping is unknown.
    """
    from pipeline.heads.classifier import assemble  # torch loads when a head is built, not when its name is looked up

    return assemble(resolve(spec), dim, classes)
