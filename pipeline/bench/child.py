"""A contender's process: started once, asked block by block, gone with whoever started it.

It is a session of its own, so that Ctrl-C reaches the parent alone, and its standard input is a lifeline: once the
parent lets go of it, by intent or by dying, the child ends itself and the workers that it started.
"""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import PipelineError, StageError

if TYPE_CHECKING:
    from pipeline.params import EmbedSettings

RANDOM = "random"  # as weights: drawn anew, from one seed, by each contender


@dataclass(frozen=True)
class Job:
    """What a contender gets to know before it starts.

    Attributes:
        contender: its name.
        model: timm's name of the backbone.
        weights: as in params.yaml, or RANDOM.
        paths: of the photos.
        bank: an images.h5 that holds them.
        rows: of each photo in the bank, int64 [n].
        folder: for the contender's own files.
        settings: of stage one.
        batch_size: images a batch of the contenders that do not choose it themselves.
    """

    contender: str
    model: str
    weights: str
    paths: list[Path]
    bank: Path
    rows: np.ndarray
    folder: Path
    settings: "EmbedSettings"
    batch_size: int = 64


class Child:
    """A contender that is ready. Made by `start`.

    Attributes:
        pid: the process.
        engine: what it runs, for people.
        start_seconds: from the start of its process until it was ready.
    """

    def __init__(self, process: subprocess.Popen, pipe: Connection, job: Job):
        begin = time.perf_counter()
        self.pid = process.pid
        self._process, self._pipe, self._name = process, pipe, job.contender
        self.engine: str = self._ask(job)
        self.start_seconds = time.perf_counter() - begin

    def embed(self, photos: np.ndarray) -> tuple[float, np.ndarray]:
        """Lets it embed some photos, int64 [m].

        Returns:
            The seconds that it took, and the vectors, float32 [m, d].

        Raises:
            StageError: when it fails, with its traceback in one line.
        """
        return self._ask(photos)

    def _ask(self, question: object) -> Any:
        try:
            self._pipe.send(question)
            error, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise StageError(f"bench: {self._name} died with status {self._process.wait()}") from None
        if error:
            raise error
        return answer


@contextmanager
def start(job: Job) -> Iterator[Child]:
    """Starts a contender and waits until it is ready; ends it with the block.

    Raises:
        PipelineError: what it raised, when that was one; else a StageError with its traceback in one line.
    """
    pipe, theirs = Pipe()
    with pipe, theirs:
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({theirs.fileno()})"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # exporters chat
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        try:
            yield Child(process, pipe, job)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdin.close()
            process.wait()


def serve(descriptor: int) -> None:
    """What the child runs: takes a Job, then photos, and answers each with an error or None, and a result."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with Connection(descriptor) as pipe, suppress(EOFError, OSError):
        job = pipe.recv()
        try:
            contender = _open(job)
            pipe.send((None, contender.engine))
            while True:
                pipe.send((None, contender.embed(pipe.recv())))
        except PipelineError as error:
            pipe.send((error, None))
        except Exception:
            report = " ".join(traceback.format_exc().split())
            pipe.send((StageError(f"bench: {job.contender} failed: {report}"), None))


def _end_with_the_parent() -> None:
    os.read(sys.__stdin__.fileno(), 1)
    os.killpg(os.getpid(), signal.SIGKILL)


def _open(job: Job) -> Any:
    """The contender, its libraries loaded only here."""
    if job.contender == "visagg":
        from pipeline.bench.stage_one import StageOne

        return StageOne(job)
    from pipeline.bench import contenders

    return {"reference": contenders.Reference, "onnxruntime": contenders.OnnxRuntime}[job.contender](job)
