"""The threads of a run: images on their way to pixels, batches on their way through engines.

A bounded number is under way in each step, and what comes out is in the order of what went in. An error in a thread is
raised where its result is asked for. When an error or Ctrl-C ends the block that holds a pool, the pool forgets what
has not begun, and waits for what has.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from pipeline.catalogue.images import Images
from pipeline.core.errors import Unusable
from pipeline.embed.lane import PixelBatch
from pipeline.embed.stopwatch import Stopwatch
from pipeline.images import Crop, prepare

READ = 16  # images read at a time
AHEAD = 64  # images decoded before their turn, at least

T = TypeVar("T")
R = TypeVar("R")
Pixels = dict[Crop, np.ndarray]  # of an image: uint8 [size, size, 3] for each crop


@contextmanager
def pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that, when an error or Ctrl-C ends the block, forgets what has not begun."""
    executor = ThreadPoolExecutor(threads)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def decoding(images: Images, threads: int, watch: Stopwatch) -> Iterator["Decoder"]:
    """A decoder whose threads end with the block: one that reads, and `threads` that decode."""
    with pool(1) as reader, pool(threads) as decoders:
        yield Decoder(images, reader, decoders, ahead=max(AHEAD, 4 * threads), watch=watch)


class Decoder:
    """Images on their way from the file to pixels. Made by `decoding`."""

    def __init__(
        self,
        images: Images,
        reader: ThreadPoolExecutor,
        decoders: ThreadPoolExecutor,
        *,
        ahead: int,
        watch: Stopwatch,
    ):
        self._images, self._reader, self._decoders = images, reader, decoders
        self._ahead, self._watch = ahead, watch

    def decoded(self, rows: np.ndarray, crops: Sequence[Crop]) -> Iterator[tuple[int, Pixels | None]]:
        """Each row, of integer [m], with its pixels, or None where it is unreadable; in their order."""

        def pixels(data: bytes) -> Pixels | None:
            try:
                return dict(zip(crops, prepare(data, crops), strict=True))
            except Unusable:
                return None

        chunks = (rows[start : start + READ] for start in range(0, len(rows), READ))
        read = in_order(self._reader, self._watch.timed("read", self._images.read_many), chunks, ahead=2)
        encoded = (data for chunk in read for data in chunk)
        results = in_order(self._decoders, self._watch.timed("decode", pixels), encoded, ahead=self._ahead)
        for row in rows:
            with self._watch("waiting for decode"):
                result = next(results)
            yield int(row), result


class InferenceQueue:
    """Batches on their way through their engines, written in the order in which they were put in.

    Args:
        runners: the threads that call engines.
        streams: batches that run at a time.
        watch: takes the time.
    """

    def __init__(self, runners: ThreadPoolExecutor, streams: int, watch: Stopwatch):
        self._runners, self._watch = runners, watch
        self._most = streams + 1  # one waits, so that no stream does
        self._under_way: deque[tuple[PixelBatch, Future[np.ndarray | None]]] = deque()

    def put(self, batch: PixelBatch) -> None:
        """Lets an engine have a batch; waits for the first one under way if there are too many."""
        self._under_way.append((batch, self._runners.submit(self._watch.timed("infer", batch.run))))
        while len(self._under_way) > self._most:
            self._write_first()

    def finish(self) -> None:
        """Waits for all that are under way."""
        while self._under_way:
            self._write_first()

    def _write_first(self) -> None:
        batch, future = self._under_way.popleft()
        with self._watch("waiting for infer"):
            vectors = future.result()
        with self._watch("write"):
            batch.write(vectors)


def in_order(threads: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], *, ahead: int) -> Iterator[R]:
    """The results of a function, in the order of its items, at most `ahead` of them under way.

    >>> with pool(2) as threads:
    ...     list(in_order(threads, len, ["one", "three", ""], ahead=2))
    [3, 5, 0]
    """
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(threads.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
