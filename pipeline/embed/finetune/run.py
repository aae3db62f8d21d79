"""A run of fine-tuning on its way, whose intermediate results lie in a folder of its own."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.catalogue.images import Images
from pipeline.core import handover
from pipeline.core.errors import StageError
from pipeline.core.files import remove
from pipeline.core.progress import Console
from pipeline.embed.backbones.backbone import Backbone
from pipeline.embed.engines.choose import open_engine
from pipeline.embed.engines.engine import Engine
from pipeline.embed.finetune.activations import Activations, Task, activations
from pipeline.embed.finetune.examples import Examples
from pipeline.embed.finetune.fit import Fit, Split
from pipeline.embed.finetune.halves import halves
from pipeline.embed.finetune.weights import Epoch
from pipeline.embed.stream import RunOptions, sample

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

STARTED = "started.json"


@dataclass(frozen=True)
class Started:
    """What a run in progress is made from."""

    made_from: dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """What a run gives.

    Attributes:
        state: the model's parameters and buffers, by name.
        images: how many trained, and how many chose the epoch.
        epochs: each of them.
    """

    state: dict[str, Tensor]
    images: dict[str, int]
    epochs: list[Epoch]


class Run:
    """Fine-tuning of one backbone.

    Args:
        images: the catalogue's.
        backbone: what is tuned.
        work: the folder of intermediate results.
        console: says what is done.
    """

    def __init__(self, images: Images, backbone: Backbone, work: Path, *, console: Console):
        self._images, self._backbone, self._work, self._console = images, backbone, work, console

    def begin(self, made_from: dict[str, Any]) -> None:
        """Keeps what an interrupted run from the same has left; otherwise begins anew."""
        try:
            same = handover.read_record(self._work / STARTED, Started, again="").made_from == made_from
        except StageError:
            same = False
        if not same:
            remove(self._work)
            self._work.mkdir(parents=True)
            handover.write_record(self._work / STARTED, asdict(Started(made_from)))

    def train(self, train: Examples, validation: Examples, settings: "Settings", *, seed: int) -> Trained:
        """Trains the model's second half, after the first half has seen every view.

        Raises:
            SettingsError: when the model cannot be cut.
            StageError: when no image of a split can be read, or a number is not finite.
        """
        how, net, options = settings.finetune, self._backbone.model, RunOptions(settings.embed)
        trunk, rest = halves(net, how.blocks, self._backbone.preprocessing)
        size = torch.Size(rest.shape).numel()
        first = Backbone(self._backbone.fingerprint, 0, lambda: trunk)
        engine = self._engine(first, options, train.rows)
        self._console.say(f"finetune: {len(train)} images train, {len(validation)} validate; {engine}")
        splits = [
            _readable(self._seen(engine, Task(self._images, split.rows, views, seed), size, name=name), split.labels)
            for name, split, views in (("training", train, how.views), ("validation", validation, 1))
        ]
        torch.set_num_threads(options.threads)
        epochs = Fit(rest, *splits, settings=how, seed=seed, work=self._work).run(self._console)
        state = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
        counts = {name: len(split.labels) for name, split in zip(("train", "validation"), splits, strict=True)}
        return Trained(state, counts, epochs)

    def _engine(self, trunk: Backbone, options: RunOptions, rows: np.ndarray) -> Engine:
        crop = trunk.preprocessing.crop
        return open_engine(
            options.settings.engine,
            trunk,
            batch_size=options.settings.batch_size,
            threads=options.threads,
            precision=options.settings.precision,
            sample=lambda: sample(self._images.part(rows), crop),
        )

    def _seen(self, engine: Engine, task: Task, size: int, *, name: str) -> Activations:
        """What the first half says of some images."""
        work, crop = self._work / f"{name}.npy", self._backbone.preprocessing.crop
        return activations(task, engine, crop, file=work, size=size, console=self._console)


def _readable(seen: Activations, labels: np.ndarray) -> Split:
    rows = np.flatnonzero(seen.readable)
    if not len(rows):
        raise StageError("finetune: not one image of a split can be read")
    return Split(seen.values, rows, torch.from_numpy(labels[rows]).float())
