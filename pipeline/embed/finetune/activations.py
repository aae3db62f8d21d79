"""What the blocks that stay say of every view of some images: computed once, then read in every epoch.

A run that was interrupted goes on behind the last image that is written down as done.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.catalogue.images import Images
from pipeline.core import handover
from pipeline.core.errors import StageError, Unusable
from pipeline.core.files import reserve
from pipeline.core.progress import Console
from pipeline.embed.engines.engine import Engine
from pipeline.embed.finetune.views import views
from pipeline.embed.flow import pool
from pipeline.images import Crop, decode

GROUPS_A_STEP = 32  # groups of images between two notes of what is done
AGAIN = "run visagg finetune"


@dataclass(frozen=True)
class Done:
    """How many images, from the first one on, are on the disk."""

    done: int


@dataclass(frozen=True)
class Activations:
    """Of some images.

    Attributes:
        values: float16 [m, views, f], mapped.
        readable: bool [m]; of the others the values mean nothing.
    """

    values: np.ndarray
    readable: np.ndarray


@dataclass(frozen=True)
class Task:
    """What is computed.

    Attributes:
        images: the catalogue's.
        rows: of them, integer [m].
        views: of each image.
        seed: of the random ones.
    """

    images: Images
    rows: np.ndarray
    views: int
    seed: int

    def of_group(self, engine: Engine, crop: Crop, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Activations of some images, float16 [g, views, f], and which of them are readable, bool [g]."""
        pixels = np.zeros((len(rows), self.views, crop.size, crop.size, 3), np.uint8)
        readable = np.zeros(len(rows), bool)
        for place, (row, data) in enumerate(zip(rows, self.images.read_many(rows), strict=True)):
            try:
                decoded = decode(data)
            except Unusable:
                continue
            seed = (self.seed, *self.images.digests[row].view(np.uint64).tolist())
            pixels[place], readable[place] = views(decoded, crop, self.views, seed=seed), True
        flat = pixels.reshape(-1, *pixels.shape[2:])
        parts = [engine(flat[start : start + engine.batch_size]) for start in range(0, len(flat), engine.batch_size)]
        values = np.concatenate(parts).astype(np.float16).reshape(len(rows), self.views, -1)
        if not np.isfinite(values).all():
            raise StageError("finetune: a number between the two halves of the model is not finite")
        return values, readable


def activations(task: Task, engine: Engine, crop: Crop, *, file: Path, size: int, console: Console) -> Activations:
    """Computes activations, or goes on with them.

    Args:
        task: of which images.
        engine: runs the blocks that stay.
        crop: what stage one takes of an image.
        file: where they are kept; a folder of the run's own.
        size: f, numbers a view.
        console: shows the progress.

    Raises:
        StageError: when the disk has no room for them, or an image is damaged.
    """
    count, note = len(task.rows), file.with_suffix(".json")
    done = handover.read_record(note, Done, again=AGAIN).done if note.exists() else 0
    values, readable = _opened(file, (count, task.views, size), anew=not done)
    group = max(1, engine.batch_size // task.views)
    starts = range(done, count, group)
    with console.progress(f"finetune: {file.stem}", count, "images") as progress, pool(engine.streams) as threads:
        progress.add(done)
        for step in (starts[first : first + GROUPS_A_STEP] for first in range(0, len(starts), GROUPS_A_STEP)):
            groups = [task.rows[start : start + group] for start in step]
            for start, (new, can_be_read) in zip(
                step, threads.map(partial(task.of_group, engine, crop), groups), strict=True
            ):
                values[start : start + len(new)], readable[start : start + len(new)] = new, can_be_read
                progress.add(len(new))
            values.flush()
            readable.flush()
            handover.write_record(note, {"done": min(step[-1] + group, count)})
    return Activations(values, np.array(readable))


def _opened(file: Path, shape: tuple[int, ...], *, anew: bool) -> tuple[np.memmap, np.memmap]:
    """Both arrays, mapped."""
    paths, mode = (file, file.with_suffix(".readable.npy")), "w+" if anew else "r+"
    values = np.lib.format.open_memmap(paths[0], mode, np.float16, shape)
    readable = np.lib.format.open_memmap(paths[1], mode, bool, shape[:1])
    if anew:
        for path in paths:
            reserve(path, path.stat().st_size)  # a full disk ends the run here, not in a mapped write
    return values, readable
