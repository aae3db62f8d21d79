"""The one place that writes. Files and folders appear whole or not at all: written beside their place, then put there.

What was there before stays until the new one is on the disk and takes its place in one step.
"""

import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import StageError
from pipeline.core.lock import hold

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux' renameat2
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
OS_ERROR = re.compile(r"\(os error (\d+)\)|\berrno = (\d+)")  # how Rust, and HDF5, quote what the system said


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`, to write a file or fill a folder there; puts it in the place of `path` on success.

    On any exception, Ctrl-C and a full disk among them, what was written is removed and `path` is as it was. A kill
    can leave the path aside; the next writer removes it, and no reader looks there.

    Raises:
        StageError: when another process is writing `path`.
        OSError: what the system said, also where a library has put it in other words.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with write_aside(Path(folder, "new/numbers.txt")) as aside:
    ...         _ = aside.write_text("1 2 3")
    ...     print(*(path.name for path in Path(folder, "new").iterdir()))
    numbers.txt
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path):
        clear(path)
        aside = _beside(path, "partial")
        try:
            with _destructors_raise():
                yield aside
            _sync_all(aside)
            _put(aside, path)
        except BaseException as error:
            remove(aside)
            if number := _system_error(error):
                raise OSError(number, os.strerror(number), str(path)) from error
            raise


@contextmanager
def _destructors_raise() -> Iterator[None]:
    """Raises after the block what destructors in it could only print: HDF5 writes when its objects go."""
    muttered: list[BaseException] = []
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if "h5py" in repr(unraisable.object) and unraisable.exc_value is not None:
            muttered.append(unraisable.exc_value)
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
    if muttered:
        raise muttered[0]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{suffix}")


def clear(path: Path) -> None:
    """Ends what writers of `path` that were killed have left: only one who holds it may."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.(partial|old)")
    for entry in sorted(path.parent.iterdir()):
        if match := left.fullmatch(entry.name):
            if match[1] == "old" and not os.path.lexists(path):
                os.rename(entry, path)
            else:
                remove(entry)


def _put(aside: Path, path: Path) -> None:
    """Puts what was written in its place, in one step where the system can, and removes what was there."""
    if not os.path.lexists(path) or not (aside.is_dir() or path.is_dir()):
        os.replace(aside, path)
        sync(path.parent)
        return
    if not _exchange(aside, path):
        old = _beside(path, "old")
        os.rename(path, old)
        try:
            os.rename(aside, path)
        except BaseException:
            os.rename(old, path)
            raise
        aside = old
    sync(path.parent)
    remove(aside)


def _exchange(a: Path, b: Path) -> bool:
    """Gives two paths each other's content in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0:
        return True
    if (number := ctypes.get_errno()) in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(b))


def _system_error(error: BaseException) -> int | None:
    """What the system said, where a library wrapped it in an error of its own; None where it did not."""
    match = None if getattr(error, "errno", None) else OS_ERROR.search(str(error))
    return int(match[1] or match[2]) if match else None


def _sync_all(path: Path) -> None:
    """Has a file, or a folder with all that is in it, on the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync(Path(folder, name))
        sync(Path(folder))
    if not path.is_dir():
        sync(path)


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
    """Writes JSON as people read and git compares it: indented, keys in the order given, a newline at the end.

    Raises:
        StageError: when a number is not finite: JSON has none such, and no result is one.
    """
    with write_aside(path) as aside:
        aside.write_text(json_text(content, path), encoding="utf-8")


def json_text(content: object, path: Path) -> str:
    """What `write_json` writes; `path` is for its message."""
    try:
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        raise StageError(f"{path} is not written: a number in it is not finite, and that is no result") from None
