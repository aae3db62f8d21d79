"""A contender's process: started once, asked block by block, gone with whoever started it.

It is a session by itself, so that Ctrl-C reaches the parent alone, and its standard input is a lifeline: once the
parent lets go of it, by intent or by dying, the child ends itself and the workers that it started.
"""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from pipeline.bench.job import Job
from pipeline.core.errors import PipelineError, StageError


class Child:
    """A contender that is ready. Made by `start`.

    Attributes:
        pid: the process.
        engine: what it runs, for people.
        start_seconds: from the start of its process until it was ready.
    """

    def __init__(self, process: subprocess.Popen, pipe: "Connection[Any, Any]", job: Job):
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
            self._pipe.poll(None)  # Ctrl-C ends this wait at once; polars has a read begin again after a signal
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
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({theirs.fileno()})"
    with (
        pipe,
        theirs,
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # exporters chat
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        ) as process,
    ):
        theirs.close()
        try:
            yield Child(process, pipe, job)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def serve(descriptor: int) -> None:
    """What the child runs: takes a Job, then photos, and answers each with an error or None, and a result."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with Connection(descriptor) as pipe, suppress(EOFError, OSError):
        job = pipe.recv()
        try:
            module, _, name = job.code.partition(":")
            contender = getattr(importlib.import_module(module), name)(job)  # its libraries are loaded only here
            pipe.send((None, contender.engine))
            while True:
                pipe.send((None, contender.embed(pipe.recv())))
        except PipelineError as error:
            pipe.send((error, None))
        except Exception:
            report = " ".join(traceback.format_exc().split())
            pipe.send((StageError(f"bench: {job.contender} failed: {report}"), None))


def _end_with_the_parent() -> None:
    os.read(0, 1)
    os.killpg(os.getpid(), signal.SIGKILL)
