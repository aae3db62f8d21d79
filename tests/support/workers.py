"""What a worker of another process runs in the place of `parts.embed_part`. Light to import: each worker does so."""

import os
import time

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
