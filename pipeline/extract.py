"""Stage one: images that have no vector yet, through a backbone, into its store."""

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline import embeddings
from pipeline.backbones import Backbone
from pipeline.catalogue import Images
from pipeline.engines import Engine, open_engine
from pipeline.errors import StageError, Unusable
from pipeline.images import Crop, crop_of, prepare
from pipeline.progress import Progress

AHEAD = 2  # batches decoded before their turn


def embed(
    images: Images,
    backbone: Backbone,
    store_path: Path,
    engine: str,
    batch_size: int,
    threads: int,
    rebuild: bool = False,
) -> None:
    """Brings a store up to date with a catalogue; what it holds already is not done again.

    Args:
        images: the catalogue's images.
        backbone: the model.
        store_path: the store; its stem names the backbone in messages.
        engine: the runtime, "auto" or one of engines.ENGINES.
        batch_size: images a batch; no part of the result.
        threads: how many images are decoded at a time.
        rebuild: whether to begin anew, whatever the store holds.

    Raises:
        StoreError: when the store is another backbone's, or another process holds it.
        StageError: when no image can be read.
    """
    maker = (backbone.identity, backbone.parameters, images.digests)
    with embeddings.open_for_writing(store_path, *maker, rebuild=rebuild) as store:
        if len(pending := store.pending()):
            _embed_pending(images, backbone, store, pending, open_engine(engine, backbone, batch_size), threads)
        if not store.count(embeddings.DONE):
            raise StageError(f"{store_path.stem}: not one of {len(images)} images could be read")
        if unreadable := store.count(embeddings.UNREADABLE):
            print(f"embed {store_path.stem}: {unreadable} of {len(images)} images are unreadable", file=sys.stderr)


def _embed_pending(
    images: Images,
    backbone: Backbone,
    store: embeddings.EmbeddingWriter,
    pending: np.ndarray,
    engine: Engine,
    threads: int,
) -> None:
    asked = backbone.preprocessing
    crop = crop_of(asked.size, asked.crop_pct, asked.interpolation)
    rounds = [pending[start : start + engine.batch_size] for start in range(0, len(pending), engine.batch_size)]
    with ThreadPoolExecutor(threads) as pool, Progress("embed", len(pending), "images") as progress:
        for rows, answers in _decoded(images, rounds, crop, pool):
            seen = np.array([answer is not None for answer in answers])
            if seen.any():
                store.write(rows[seen], engine(np.stack([answer for answer in answers if answer is not None])))
            store.write_unreadable(rows[~seen])
            progress.add(len(rows))


def _decoded(
    images: Images, rounds: list[np.ndarray], crop: Crop, pool: ThreadPoolExecutor
) -> Iterator[tuple[np.ndarray, list[np.ndarray | None]]]:
    """Rows of each batch with their pixels, uint8 [size, size, 3], or None where unreadable; a few batches ahead."""

    def pixels(row: int) -> np.ndarray | None:
        try:
            return prepare(images.read(row), crop)
        except Unusable:
            return None

    waiting: deque[tuple[np.ndarray, list[Future]]] = deque()
    for rows in rounds:
        waiting.append((rows, [pool.submit(pixels, int(row)) for row in rows]))
        if len(waiting) > AHEAD:
            rows, answers = waiting.popleft()
            yield rows, [answer.result() for answer in answers]
    for rows, answers in waiting:
        yield rows, [answer.result() for answer in answers]
