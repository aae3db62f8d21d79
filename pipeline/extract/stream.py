"""Images through backbones in one process: read, decoded, embedded and written at the same time.

A bounded number of images is under way in each step. An image is decoded once, whatever the number of backbones.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import joblib
import numpy as np

from pipeline import embeddings
from pipeline.backbones import Backbone
from pipeline.catalogue import Images
from pipeline.errors import StageError, Unusable
from pipeline.extract.lane import Batch, Lane
from pipeline.extract.stopwatch import Stopwatch
from pipeline.images import Crop, crop_of, prepare
from pipeline.progress import Console

if TYPE_CHECKING:
    from pipeline.params import EmbedSettings

READ = 16  # images read at a time
AHEAD = 64  # images decoded before their turn, at least
SAMPLE = 16  # images on which bfloat16 is compared with float32
CONSOLE = Console()


T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Target:
    """A backbone, and the store that its vectors go to.

    Attributes:
        name: the backbone's alias, for messages.
        backbone: the model.
        path: the store.
    """

    name: str
    backbone: Backbone
    path: Path


def embed(
    images: Images,
    targets: Sequence[Target],
    settings: "EmbedSettings",
    rebuild: bool = False,
    all_there_is: bool = True,
    console: Console = CONSOLE,
) -> None:
    """Brings stores up to date with some images; what they hold already is not done again.

    Args:
        images: the images of a catalogue, or a part of them.
        targets: the backbones and their stores.
        settings: the engine, its precision, the batch size, the cores; none is a part of the result.
        rebuild: whether to begin anew, whatever the stores hold.
        all_there_is: whether these are all images of the catalogue, so that not one readable among them is a fault.
        console: where it says what it does.

    Raises:
        StoreError: when a store is another backbone's, or another process holds it.
        StageError: when no image can be read.
    """
    with open_stores(images, targets, rebuild) as stores:
        pairs = zip(targets, stores)
        if unfinished := [(target, store) for target, store in pairs if len(store.pending())]:
            threads = settings.threads or joblib.cpu_count()
            lanes = [open_lane(images, *pair, settings, threads, console) for pair in unfinished]
            fill(images, lanes, threads, console)
        report_unreadable(targets, stores, all_there_is, console)


@contextmanager
def open_stores(images: Images, targets: Sequence[Target], rebuild: bool) -> Iterator[list[embeddings.EmbeddingWriter]]:
    """The stores of some backbones, open for writing, in their order; arguments and errors as in `embed`."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                embeddings.open_for_writing(
                    target.path, target.backbone.identity, target.backbone.parameters, images.digests, rebuild
                )
            )
            for target in targets
        ]


def report_unreadable(
    targets: Sequence[Target], stores: Sequence[embeddings.EmbeddingWriter], all_there_is: bool, console: Console
) -> None:
    """Says how many images are unreadable.

    Raises:
        StageError: when all are, and there are no others.
    """
    for target, store in zip(targets, stores):
        done, unreadable = store.count(embeddings.DONE), store.count(embeddings.UNREADABLE)
        if unreadable and not done and all_there_is:
            raise StageError(f"{target.name}: not one of {unreadable} images could be read")
        if unreadable:
            console.say(f"embed {target.name}: {unreadable} of {done + unreadable} images are unreadable")


def open_lane(
    images: Images,
    target: Target,
    store: embeddings.EmbeddingWriter,
    settings: "EmbedSettings",
    threads: int,
    console: Console,
) -> Lane:
    """A target's engine, ready to run, with its store; arguments as in `embed` and `fill`."""
    from pipeline.engines import open_engine  # here: a finished store needs no torch

    asked = target.backbone.preprocessing
    crop = crop_of(asked.size, asked.crop_pct, asked.interpolation)
    engine = open_engine(
        settings.engine,
        target.backbone,
        settings.batch_size,
        threads,
        settings.precision,
        lambda: _sample(images, crop),
    )
    console.say(f"embed {target.name}: {engine}, batches of {engine.batch_size}")
    return Lane(crop, engine, store)


def _sample(images: Images, crop: Crop) -> np.ndarray:
    """Some readable images from all over the catalogue, whatever is pending: uint8 [m, size, size, 3]."""
    found = []
    for row in np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(int)):
        try:
            found += prepare(images.read(row), [crop])
        except Unusable:
            continue
    return np.stack(found) if found else np.empty((0, crop.size, crop.size, 3), np.uint8)


def fill(
    images: Images, lanes: Sequence[Lane], threads: int, console: Console = CONSOLE, rows: np.ndarray | None = None
) -> None:
    """Embeds what is pending.

    Args:
        images: the catalogue's images.
        lanes: the backbones, each with its engine and its store.
        threads: images decoded at a time.
        console: where it shows its progress, and at last where the time went.
        rows: the rows to look at, integer [m], ascending; None: all.
    """
    pending = np.unique(np.concatenate([lane.pending() for lane in lanes]))
    rows = pending if rows is None else np.intersect1d(rows, pending)
    watch = Stopwatch()
    streams = max(lane.engine.streams for lane in lanes)
    with _pool(1) as reader, _pool(threads) as decoders, _pool(streams) as runners:
        flying: deque[tuple[Batch, Future]] = deque()

        def launch(batch: Batch) -> None:
            flying.append((batch, runners.submit(watch.timed("infer", batch.run))))
            while len(flying) > streams + 1:  # one waits, so that no stream does
                land()

        def land() -> None:
            batch, future = flying.popleft()
            with watch("waiting for infer"):
                vectors = future.result()
            with watch("write"):
                batch.write(vectors)

        with console.progress("embed", len(rows), "images") as progress:
            crops = list(dict.fromkeys(lane.crop for lane in lanes))
            for row, pixels in _decoded(images, rows, crops, threads, reader, decoders, watch):
                for lane in lanes:
                    if batch := lane.take(row, pixels and pixels[crops.index(lane.crop)]):
                        launch(batch)
                if progress:
                    progress.add()
            for lane in lanes:
                launch(lane.rest())
            while flying:
                land()
    console.say(f"embed: {watch.summary(len(rows))}")


def _decoded(
    images: Images,
    rows: np.ndarray,
    crops: Sequence[Crop],
    threads: int,
    reader: ThreadPoolExecutor,
    decoders: ThreadPoolExecutor,
    watch: Stopwatch,
) -> Iterator[tuple[int, list[np.ndarray] | None]]:
    """Each row with its pixels, uint8 [size, size, 3] for each crop, or None where unreadable; in order."""

    def pixels(data: bytes) -> list[np.ndarray] | None:
        try:
            return prepare(data, crops)
        except Unusable:
            return None

    chunks = (rows[start : start + READ] for start in range(0, len(rows), READ))
    encoded = _in_order(reader, watch.timed("read", images.read_many), chunks, 2)
    decode = watch.timed("decode", pixels)
    singles = (data for chunk in encoded for data in chunk)
    answers = _in_order(decoders, decode, singles, max(AHEAD, 4 * threads))
    for row in rows:
        with watch("waiting for decode"):
            answer = next(answers)
        yield int(row), answer


def _in_order(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """The results of a function, in the order of its items, at most `ahead` of them under way."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, when an error or Ctrl-C ends the block, forgets what has not begun."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
