"""What a worker of another process runs in the place of `parts.embed_part`. Light to import: each worker does so."""

import os
import time
from types import SimpleNamespace

from pipeline.embed.parts import Task, embed_part


def embed_tiny_part(task: Task) -> list[str]:
    """As `embed_part`, whatever the backbones are, with one of two layers."""
    from tests.support.extraction import with_tiny_backbones

    with with_tiny_backbones():
        return embed_part(task)


def die(_: Task) -> list[str]:
    """Kills the worker."""
    os.kill(os.getpid(), 9)
    return []


def dawdle(_: Task) -> list[str]:
    """Is never done, as far as a test can tell."""
    time.sleep(60)
    return []


def leave(_: Task) -> list[str]:
    """Has the dask worker that runs it leave its cluster."""
    from distributed import get_worker

    worker = get_worker()
    worker.loop.add_callback(worker.close, executor_wait=False)
    time.sleep(1)
    return []


def lose(_: Task) -> list[str]:
    """Fails as a task does that has killed one worker after the other."""
    from distributed import KilledWorker

    raise KilledWorker("a part", SimpleNamespace(address="tcp://lost"), 3)


def doze(_: Task) -> list[str]:
    """Takes longer than a test lets it, and not much longer."""
    time.sleep(5)
    return []


def lack(_: Task) -> list[str]:
    """Finds that something is not installed."""
    raise ModuleNotFoundError("No module named 'pipeline'")


def dask_setup(_: object) -> None:
    """What a worker that is started with --preload of this file does first: its backbones are tiny from then on."""
    from tests.support.cluster import DIM
    from tests.support.extraction import with_tiny_backbones

    with_tiny_backbones(DIM)
