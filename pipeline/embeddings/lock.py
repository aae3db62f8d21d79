"""A lock that lets a store have a single writer."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import StoreError


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds a store for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        StoreError: when another process holds it, with its number and host.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _claim(handle, path)
        yield
    finally:
        os.close(handle)


def _claim(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        raise StoreError(f"{path} is being written by {holder}: wait for it, or stop it") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
