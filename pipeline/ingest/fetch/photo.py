"""Whether what a host sent is a photo: of a known kind, whole, and not a placeholder."""

import io

from PIL import Image, UnidentifiedImageError

from pipeline.ingest.fetch.faults import Fault

SMALLEST = 2000  # bytes: only of smaller files the size in pixels is looked at; those of one pixel have 43 to 700
UNTOLD = ("", "application/octet-stream", "binary/octet-stream")
WRONG_TYPE = "not an image"


def require(data: bytes, content_type: str) -> None:
    """Makes sure that an answer is a photo.

    Args:
        data: its bytes.
        content_type: as the host calls it, in lower case and without parameters; may be empty.

    Raises:
        Fault: with why not; it passes where the photo is there but came damaged.

    >>> require(b"<html>", "text/html")
    Traceback (most recent call last):
    pipeline.ingest.fetch.faults.Fault: not an image
    """
    if not data:
        raise Fault("empty", passes=True)
    if not content_type.startswith("image/") and content_type not in UNTOLD:
        raise Fault(WRONG_TYPE)
    if (is_whole := _is_whole(data)) is None:
        raise Fault(WRONG_TYPE)
    if not is_whole:
        raise Fault("cut short", passes=True)
    if len(data) < SMALLEST and _is_pixel(data):
        raise Fault("a placeholder of one pixel")


def _is_whole(data: bytes) -> bool | None:
    """Whether the file has its end; None where it is of no known kind."""
    if data.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" in data[3:]
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" in data[-64:]
    if data.startswith((b"GIF87a", b"GIF89a")):
        return data.rstrip(b"\0").endswith(b";")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return True if data[4:12] in (b"ftypavif", b"ftypavis") else None


def _is_pixel(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "GIF", "WEBP", "AVIF")) as image:
            return image.size == (1, 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
