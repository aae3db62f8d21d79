"""Files that others made, opened and read with a bound: a name may stand for a device, and a size for anything."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST_IMAGE = 64 << 20  # bytes


class Irregular(OSError):
    """The name stands for a folder, a device, a pipe or a socket."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file, and waits for nobody: a pipe or a device is closed again without being read.

    What was opened is looked at, not the name, which may stand for something else a moment later.

    Args:
        path: the file; links are followed.

    Returns:
        The file, opened for reading without a buffer.

    Raises:
        OSError: it cannot be opened; Irregular where it is no regular file.
        ValueError: the path holds a zero byte.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Irregular("not a regular file")
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_whole(file: BinaryIO, length: int) -> bytes:
    """Reads `length` bytes, or fewer where the file ends; a file without a size is not read, since some never end."""
    parts = []
    while length > 0 and (part := file.read(length)):
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
