"""Plain data as Python 2 pickled them, in protocol 2: a piece at a time, so that a file of any size can be written.

Each string, list and dictionary is numbered in the pickle's memo, as Python 2's pickler did; a key that was written
before is named by its number.
"""

import pickle
import struct
from collections.abc import Iterable, Iterator

BATCH = 1000  # entries of a dictionary that are set at once
PAIRS = list[tuple[bytes | str, bytes]]  # keys, and values that are pickled already


class Pickler:
    r"""Pickles values one by one; the bytes that it returns belong behind one another in one file.

    >>> import pickle
    >>> pickler = Pickler()
    >>> data = pickle.PROTO + b"\x02" + pickler.record([(b"a", pickler.number(7))]) + pickle.STOP
    >>> pickle.loads(data, encoding="bytes")
    {b'a': 7}
    """

    def __init__(self) -> None:
        self._count = 0
        self._keys: dict[bytes | str, int] = {}

    def _numbered(self, written: bytes) -> bytes:
        number = self._count
        self._count += 1
        if number < 256:
            return written + pickle.BINPUT + bytes([number])
        return written + pickle.LONG_BINPUT + struct.pack("<I", number)

    def text(self, value: bytes | str) -> bytes:
        """A byte string, Python 2's `str`, or a text, its `unicode`."""
        if isinstance(value, str):
            encoded = value.encode("utf-8", "surrogatepass")
            return self._numbered(pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded)
        if len(value) < 256:
            return self._numbered(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
        return self._numbered(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    def number(self, value: int) -> bytes:
        """A whole number of at most 32 bits."""
        if 0 <= value < 256:
            return pickle.BININT1 + bytes([value])
        return (
            pickle.BININT2 + struct.pack("<H", value)
            if 0 <= value < 65536
            else pickle.BININT + struct.pack("<i", value)
        )

    def list(self, values: Iterable[bytes]) -> bytes:
        """A list of pickled values. They are numbered before it, which readers do not mind."""
        parts = list(values)
        head = self._numbered(pickle.EMPTY_LIST)
        return head + pickle.MARK + b"".join(parts) + pickle.APPENDS if parts else head

    def record(self, pairs: PAIRS) -> bytes:
        """A dictionary of a few fields."""
        return self._numbered(pickle.EMPTY_DICT) + pickle.MARK + b"".join(map(self._pair, pairs)) + pickle.SETITEMS

    def _pair(self, pair: tuple[bytes | str, bytes]) -> bytes:
        key, value = pair
        if key in self._keys:
            number = self._keys[key]
            named = bytes([number]) if number < 256 else struct.pack("<I", number)
            return (pickle.BINGET if number < 256 else pickle.LONG_BINGET) + named + value
        written = self.text(key)
        self._keys[key] = self._count - 1
        return written + value

    def table(self, entries: Iterable[bytes]) -> Iterator[bytes]:
        """A dictionary of any length by number: its entries are pickled keys, each with its value behind it."""
        yield self._numbered(pickle.EMPTY_DICT)
        place = 0
        for place, entry in enumerate(entries, 1):
            yield pickle.MARK + entry if place % BATCH == 1 else entry
            if place % BATCH == 0:
                yield pickle.SETITEMS
        if place % BATCH:
            yield pickle.SETITEMS
