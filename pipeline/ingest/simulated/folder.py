"""The folder that simulated data go to: it appears whole or not at all, and nobody's own data are in its place."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import StageError
from pipeline.core.files import write_aside
from pipeline.ingest import marker

KEPT = "README.md"  # data/raw has one in git


@contextmanager
def fill(folder: Path) -> Iterator[Path]:
    """Yields a folder to be filled, which takes the place of `folder` on success.

    Args:
        folder: new, empty, or what an earlier call made; a README.md in it stays.

    Raises:
        StageError: when it holds anything else, or another process is writing it.
    """
    folder = Path(os.path.realpath(folder))
    if folder.exists() and not folder.is_dir():
        raise StageError(f"{folder} is a file: name a folder that is new or empty")
    held = sorted(entry.name for entry in folder.iterdir() if entry.name != KEPT) if folder.is_dir() else []
    if held and marker.NAME not in held:
        raise StageError(f"{folder} holds {held[0]}, which is no simulated data: name a folder that is new or empty")
    with write_aside(folder) as aside:
        aside.mkdir()
        if (folder / KEPT).is_file():
            shutil.copy(folder / KEPT, aside / KEPT)
        yield aside
