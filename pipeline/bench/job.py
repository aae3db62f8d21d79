"""What a contender gets to know. Light to import: it is the first thing that a contender's process loads."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.settings.sections import EmbedSettings

RANDOM = "random"  # as weights: drawn anew, from one seed, by each contender


@dataclass(frozen=True)
class PhotoSample:
    """Photos in a seeded random order, so that any run of them is like any other.

    Attributes:
        paths: the files.
        classes: of each, the name of the folder right below the one that was searched; "" of a file in that one.
        bank: an images.h5 that holds them.
        rows: of each, its row in the bank, int64 [n]; copies share one.
    """

    paths: list[Path]
    classes: list[str]
    bank: Path
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Job:
    """What a contender gets to know before it starts.

    Attributes:
        contender: its name, for messages.
        code: its class, "module:name"; made with the job, it has an `engine` and embeds photos by their number.
        model: timm's name of the backbone.
        weights: as in params.yaml, or RANDOM.
        photos: that it may be asked for.
        folder: for the contender's files.
        settings: of stage one.
        batch_size: images a batch of the contenders that do not choose it themselves.
    """

    contender: str
    code: str
    model: str
    weights: str
    photos: PhotoSample
    folder: Path
    settings: "EmbedSettings"
    batch_size: int = 64
