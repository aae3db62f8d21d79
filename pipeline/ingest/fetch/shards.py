"""Photos one behind the other in a few large files: a million small ones would be slow to list, copy and delete."""

import os
import re
from pathlib import Path

LARGEST = 256 << 20  # bytes, after which the next file is begun
_NAME = re.compile(r"photos-(\d{5,9})\.bin")


def shard_path(folder: Path, number: int) -> Path:
    """The file of a number.

    >>> shard_path(Path("photos"), 7).name
    'photos-00007.bin'
    """
    return folder / f"photos-{number:05d}.bin"


def shard_sizes(folder: Path) -> dict[int, int]:
    """The bytes of each file that is there, by its number."""
    found = ((match, entry) for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name)))
    return {int(match[1]): entry.stat().st_size for match, entry in sorted(found, key=lambda pair: pair[1].name)}


def read_at(handle: int, offset: int, count: int) -> bytes:
    """Bytes of an opened file; fewer where it ends."""
    parts = []
    while count > 0 and (part := os.pread(handle, count, offset)):
        parts.append(part)
        offset, count = offset + len(part), count - len(part)
    return b"".join(parts)


def write_all(handle: int, data: bytes) -> None:
    """Appends bytes to a file that was opened for that."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


class ShardWriter:
    """Appends photos. What a killed process left behind its last entry in the ledger stays there, and does no harm.

    Args:
        folder: of the files.
        largest: bytes after which the next one is begun.
    """

    def __init__(self, folder: Path, largest: int = LARGEST):
        self._folder, self._largest = folder, largest
        self._number = max(shard_sizes(folder), default=0)
        self._full: list[int] = []
        self._open()

    def _open(self) -> None:
        path = shard_path(self._folder, self._number)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._end = os.fstat(self._handle).st_size

    def append(self, photo: bytes) -> tuple[int, int]:
        """Hands a photo to the system, which keeps it if this process is killed.

        Returns:
            The file's number, and where in it the photo begins.
        """
        if self._end >= self._largest:
            self._full.append(self._handle)
            self._number += 1
            self._open()
        start = self._end
        write_all(self._handle, photo)
        self._end += len(photo)
        return self._number, start

    def handles(self) -> tuple[list[int], int]:
        """The files that are full, which the caller syncs and closes, and the one that is written, to sync."""
        full, self._full = self._full, []
        return full, self._handle

    def close(self) -> None:
        """Closes all files."""
        for handle in (*self._full, self._handle):
            os.close(handle)
