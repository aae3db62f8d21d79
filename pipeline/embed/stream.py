"""Images through backbones in one process: read, decoded, embedded and written at the same time.

An image is decoded once, whatever the number of backbones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import joblib
import numpy as np

from pipeline.catalogue.images import Images
from pipeline.core.errors import StageError, Unusable
from pipeline.core.progress import Console
from pipeline.embed.flow import InferenceQueue, decoding, pool
from pipeline.embed.lane import Lane
from pipeline.embed.stopwatch import Stopwatch
from pipeline.embed.target import Target, open_stores, report
from pipeline.embeddings.writer import EmbeddingWriter
from pipeline.images import Crop, prepare

if TYPE_CHECKING:
    from pipeline.settings.sections import EmbedSettings

SAMPLE = 16  # images on which bfloat16 is compared with float32
CONSOLE = Console()


@dataclass(frozen=True)
class RunOptions:
    """How a run is made.

    Attributes:
        settings: the engine, its precision, the batch size, the cores; none is a part of the result.
        console: where the run says what it does, shows its progress, and at last where the time went.
    """

    settings: "EmbedSettings"
    console: Console = CONSOLE

    @property
    def threads(self) -> int:
        """Images decoded at a time, and batches embedded at a time on a CPU."""
        return self.settings.threads or joblib.cpu_count()


def embed(
    images: Images,
    targets: Sequence[Target],
    options: RunOptions,
    *,
    rebuild: bool = False,
    whole_catalogue: bool = True,
) -> None:
    """Brings stores up to date with some images; what they hold already is not done again.

    Args:
        images: the images of a catalogue, or a part of them.
        targets: the backbones and their stores.
        options: how.
        rebuild: whether to begin anew, whatever the stores hold.
        whole_catalogue: whether these are all images, so that not one readable among them is a fault.

    Raises:
        StoreError: when a store is another backbone's or damaged, or another process holds it.
        StageError: when no image of a whole catalogue can be read.
    """
    with open_stores(images, targets, rebuild=rebuild) as stores:
        pairs = zip(targets, stores, strict=True)
        if unfinished := [(target, store) for target, store in pairs if len(store.pending())]:
            fill(images, [open_lane(images, *pair, options=options) for pair in unfinished], options)
        report(targets, stores, options.console, whole_catalogue=whole_catalogue)


def open_lane(images: Images, target: Target, store: EmbeddingWriter, *, options: RunOptions) -> Lane:
    """A target's engine, ready to run, with its store; `images` are those of the catalogue."""
    from pipeline.embed.engines.choose import open_engine  # here: a finished store needs no torch

    crop, settings = target.backbone.preprocessing.crop, options.settings
    engine = open_engine(
        settings.engine,
        target.backbone,
        batch_size=settings.batch_size,
        threads=options.threads,
        precision=settings.precision,
        sample=lambda: sample(images, crop),
    )
    options.console.say(f"embed {target.name}: {engine}, batches of {engine.batch_size}")
    return Lane(crop, engine, store)


def sample(images: Images, crop: Crop) -> np.ndarray:
    """Some readable images from all over the catalogue, whatever is pending: uint8 [m, size, size, 3]."""
    pixels: list[np.ndarray] = []
    for row in np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(int)):
        try:
            pixels += prepare(images.read(row), [crop])
        except Unusable:
            continue
    return np.stack(pixels) if pixels else np.empty((0, crop.size, crop.size, 3), np.uint8)


def fill(images: Images, lanes: Sequence[Lane], options: RunOptions, *, rows: np.ndarray | None = None) -> None:
    """Embeds what is pending.

    Args:
        images: the catalogue's images.
        lanes: the backbones, each with its engine and its store.
        options: how.
        rows: the rows to look at, integer [m], ascending; None: all.

    Raises:
        StageError: when an engine gave no finite vector for some images; all others are stored.
    """
    pending = np.unique(np.concatenate([lane.pending() for lane in lanes]))
    rows = pending if rows is None else np.intersect1d(rows, pending)
    crops = list(dict.fromkeys(lane.crop for lane in lanes))
    watch, streams = Stopwatch(), max(lane.engine.streams for lane in lanes)
    with decoding(images, options.threads, watch) as decoder, pool(streams) as runners:
        queue = InferenceQueue(runners, streams, watch)
        with options.console.progress("embed", len(rows), "images") as progress:
            for row, pixels in decoder.decoded(rows, crops):
                for lane in lanes:
                    if batch := lane.take(row, None if pixels is None else pixels[lane.crop]):
                        queue.put(batch)
                progress.add()
            for lane in lanes:
                queue.put(lane.rest())
            queue.finish()
    options.console.say(f"embed: {watch.summary(len(rows))}")
    for lane in lanes:
        if lost := sorted(lane.lost):
            raise StageError(
                f"{lane.engine} gave no finite vector for {len(lost)} images (rows {', '.join(map(str, lost[:5]))}); "
                "the others are stored: set embed.precision to float32, or another embed.engine, and run it again"
            )
