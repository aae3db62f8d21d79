"""How much a file may become in memory: so many times its own size, and something for small files.

A pickle or a compressed table can name the same thing again and again for two bytes a time. Honest files do so too,
with a category's name or a list of categories; so the factor is well above what honest files reach.
"""

from pipeline.core.errors import SourceError

FLOOR = 64 << 20  # bytes that any file may become
FACTOR = 32  # an honest item takes 60 bytes without its image, and may come to 1,700
ENTRY = 128  # bytes of an item, purchase or reject, whatever it holds
NAME = 64  # bytes of a string, however short
IMAGE_FLOOR, IMAGE_FACTOR = 1 << 30, 16  # images read: of honest files, some items share one


class Allowance:
    """Bytes that a source may still take.

    Args:
        origin: the file, in the message.
        size: the file's, in bytes.
        floor: what any file may become.
        factor: what each byte of the file adds.

    Example:
        >>> allowance = Allowance("a.npy", 10, floor=100, factor=1)
        >>> allowance.spend(110)
        >>> allowance.spend(1)
        Traceback (most recent call last):
        pipeline.core.errors.SourceError: a.npy: repeats so much that its 10 bytes become more than 110: refused
    """

    def __init__(self, origin: object, size: int, *, floor: int = FLOOR, factor: int = FACTOR):
        self._origin, self._size = origin, size
        self._whole = self._left = floor + factor * size

    def spend(self, amount: int) -> None:
        """Takes some bytes, before they are made.

        Raises:
            SourceError: more than is left.
        """
        self._left -= amount
        if self._left < 0:
            said = f"its {self._size} bytes become more than {self._whole}"
            raise SourceError(f"{self._origin}: repeats so much that {said}: refused")
