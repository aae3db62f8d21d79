"""Lines of a file that others made, plain or gzipped, with a bound on each line and on what gzip unfolds to."""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import SourceError
from pipeline.core.regular_file import open_regular

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
LONGEST = 4 << 20  # bytes of a line that is read; of a longer one only that it was there
ENDLESS = 64 << 20  # a line of more bytes is no line: the file is refused
BLOCK = 1 << 20
UNFOLDED_FLOOR, UNFOLDED = 64 << 20, 100  # bytes a byte of gzip may become; these lists become 3 to 20
TOO_LONG = f"a line of more than {LONGEST >> 20} MiB"


def first_bytes(path: Path, count: int = 4) -> bytes:
    """The first bytes of a file.

    Raises:
        SourceError: it is missing, no regular file, or cannot be read.
    """
    with _opened(path) as file:
        return file.read(count)


def lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    r"""The lines of a file with their numbers from 1, without their ends; empty ones are passed over.

    Yields:
        number, line: the line is None where it has more than 4 MiB.

    Raises:
        SourceError: the file cannot be read, its gzip is damaged or cut short, unfolds to far more than lists do, or
            it holds a line that does not end within 64 MiB.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.txt")
    ...     _ = path.write_bytes(b"one\r\n\ntwo")
    ...     list(lines(path))
    [(1, b'one'), (3, b'two')]
    """
    number = 0
    with _opened(path) as raw:
        try:
            for number, line in enumerate(_bounded(raw, path), 1):
                if line is None or (line := line.rstrip(b"\r\n")):
                    yield number, line
        except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
            reason = f"damaged or cut short behind line {number} ({fault})"
            raise SourceError(f"{path}: {reason}: get the file again") from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open_regular(path) as file:
            yield file
    except gzip.BadGzipFile:
        raise
    except OSError as fault:
        raise SourceError(f"{path}: cannot be read: {fault.strerror or fault}") from None


def _bounded(raw: BinaryIO, path: Path) -> Iterator[bytes | None]:
    """Every line with its end; None for one that is too long."""
    is_gzip = raw.read(2) == GZIP
    raw.seek(0)
    size = os.fstat(raw.fileno()).st_size
    stream: BinaryIO = gzip.GzipFile(fileobj=raw) if is_gzip else raw  # type: ignore[assignment]
    left = UNFOLDED_FLOOR + UNFOLDED * size
    with io.BufferedReader(stream, BLOCK) as file:  # type: ignore[type-var]
        while line := file.readline(LONGEST + 1):
            left -= len(line)
            length, is_whole = len(line), line.endswith(b"\n") or len(line) <= LONGEST
            while length > LONGEST and not line.endswith(b"\n") and (line := file.readline(BLOCK)):
                length += len(line)
                left -= len(line)
                if length > ENDLESS:
                    raise SourceError(f"{path}: a line of more than {ENDLESS >> 20} MiB: no list of items or reviews")
            if left < 0:
                raise SourceError(f"{path}: its {size} bytes unfold to more than {UNFOLDED} times as many: refused")
            yield line if is_whole else None
