"""Every output has one writer at a time; a second one is told who holds it."""

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.core.errors import StageError

_held: dict[str, int] = {}  # by this process: how many blocks hold each output
_guard = threading.Lock()


@contextmanager
def hold(*paths: Path) -> Iterator[None]:
    """Holds outputs, files or folders, for this process; the system lets go of them when it ends, however it ends.

    A process may hold what it holds already. The lock is a file beside the output, `.NAME.lock`, which goes with the
    block; one that a killed process left does no harm. Where DVC owns a folder of outputs, hold the folder: DVC removes
    what is inside before it runs a stage.

    Raises:
        StageError: when another process holds one of them, with its number and host, or the file system knows no locks.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with hold(Path(folder, "a"), Path(folder, "b")):
    ...         print(*sorted(os.listdir(folder)))
    ...     print(os.listdir(folder))
    .a.lock .b.lock
    []
    """
    with ExitStack() as stack:
        for path in sorted(set(paths)):  # in one order everywhere: two processes never each hold what the other wants
            stack.enter_context(_hold(path))
        yield


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    key = os.path.abspath(path)
    with _guard:
        is_mine = key in _held
        handle = None if is_mine else _claim(path)
        _held[key] = _held.get(key, 0) + 1
    try:
        yield
    finally:
        with _guard:
            _held[key] -= 1
            if not _held[key]:
                del _held[key]
                if handle is not None:
                    _lock_of(path).unlink(missing_ok=True)  # before the lock goes: nobody else has claimed it yet
        if handle is not None:
            os.close(handle)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _claim(path: Path) -> int:
    """The opened lock file of an output, locked."""
    lock = _lock_of(path)
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # its folder went in between: the claim of DVC's, which empties a stage's outputs
        try:
            _lock(handle, path)
            if _is(handle, lock):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever held it removed the file after it was opened here: there is another one by now


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        raise StageError(f"{path} is being written by {holder}: wait for it, or stop it") from None
    except OSError as error:
        raise StageError(
            f"{path} lies on a file system that cannot lock files ({error.strerror}), so two processes could "
            "write it at once: move the project to another"
        ) from None


def _is(handle: int, lock: Path) -> bool:
    """Whether an opened file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(lock))
    except FileNotFoundError:
        return False
