"""Files appear whole or not at all: written beside their place, synced, then renamed over it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`, to write a file or fill a folder there; renames it over `path` on success.

    On any exception, Ctrl-C and a full disk among them, what was written is removed and `path` is as it was. A kill
    can leave the path aside; the next writer begins by removing it, and no reader looks there.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with write_aside(Path(folder, "new/numbers.txt")) as aside:
    ...         _ = aside.write_text("1 2 3")
    ...     print(*(path.name for path in Path(folder, "new").iterdir()))
    numbers.txt
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    remove(aside)
    try:
        yield aside
        if aside.is_dir():
            remove(path)
        else:
            sync(aside)
        os.replace(aside, path)
        sync(path.parent)
    except BaseException:
        remove(aside)
        raise


def sync(path: Path) -> None:
    """Returns once the system says that a file's bytes, or a folder's list of names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reserve(path: Path, size: int) -> None:
    """Claims a file's first `size` bytes from the disk, so that a full disk is met here rather than inside a library.

    HDF5 does not survive a full disk: when a write fails it can crash as it closes the file.

    Raises:
        OSError: with ENOSPC, when the disk has no room; what the file holds is as it was.
    """
    handle = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Writes JSON as people read and git compares it: indented, keys in the order given, a newline at the end."""
    with write_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
