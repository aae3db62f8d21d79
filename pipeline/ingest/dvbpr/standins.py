"""What a pickle of plain data may ask for, by name, and the harmless stand-ins that answer it."""

import math
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.core.errors import Unusable
from pipeline.ingest.dvbpr.tables import Listed, shaped

MOST_DIMENSIONS = 64  # numpy's own limit


class Refused(Exception):
    """The pickle is well-formed but asks for what is not plain data."""


@dataclass(slots=True, eq=False)
class Span:
    """A long string, left in the file.

    Attributes:
        offset: where its bytes begin in the file.
        length: how many they are there.
        is_text: the file holds it as UTF-8 text rather than as bytes.
        is_latin1: Python 3 wrote bytes as text in protocol 2, one character for each byte.
    """

    offset: int
    length: int
    is_text: bool = False
    is_latin1: bool = False

    def read(self, file: BinaryIO) -> bytes:
        """Gives the bytes (of text: its UTF-8) from the opened file, whose position it moves.

        Raises:
            Unusable: when the file is shorter than it was, or the bytes are not what Python 3 writes.
        """
        file.seek(self.offset)
        data = file.read(self.length)
        if len(data) < self.length:
            raise Unusable("the file has become shorter")
        if not self.is_latin1:
            return data
        try:
            return data.decode("utf-8").encode("latin-1")
        except UnicodeError:
            raise Unusable("damaged byte string") from None


class ObjectArray(list):
    """Stands in for an array of objects: the list of its elements, of its rows where it has several dimensions.

    Attributes:
        table: has the elements, and the list is empty, where the array is a table of the file's; else None.
    """

    __slots__ = ("table",)

    def __init__(self) -> None:
        super().__init__()
        self.table: Listed | None = None

    def fill(self, state: object) -> None:
        """Takes the state that numpy pickled: (version, shape, dtype, is Fortran order, elements).

        Raises:
            Refused: when the array holds anything but objects, or is ordered otherwise than by rows.
            ValueError: when the state is not that of an array.
        """
        if type(state) is not tuple or len(state) != 5:
            raise ValueError("an array without its state")
        _, shape, _, is_fortran, elements = state
        if type(elements) not in (list, Listed):
            raise Refused("holds an array of something other than objects")
        if type(shape) is not tuple or len(shape) > MOST_DIMENSIONS or not all(type(size) is int for size in shape):
            raise ValueError("an array without a shape")
        if math.prod(shape) != len(elements) or min(shape, default=0) < 0:
            raise ValueError("an array whose shape and elements disagree")
        if is_fortran and len(shape) > 1:
            raise Refused("holds an array of several dimensions in Fortran order")
        if type(elements) is Listed:
            self.table = elements.grouped(shape[0], shape[1:]) if elements and len(shape) > 1 else elements
        else:
            self[:] = shaped(elements, shape) if elements else []


# What the names below stand for is never needed, only that it is they: these cannot even be called.
OBJECT, _NDARRAY, _LIST = object(), object(), object()


def one_line(text: object) -> str:
    """A short text of the file's as a message can show it; of anything else its type."""
    shown = text if isinstance(text, str) else type(text).__name__
    return ascii(shown[:80])[1:-1]


def _reconstruct(kind: object, shape: object, code: object) -> ObjectArray:
    if kind is not _NDARRAY:
        raise Refused("holds an array of another class than numpy's own")
    return ObjectArray()


def _dtype(code: object, *_: object) -> object:
    text = code.decode("latin-1") if type(code) is bytes else code
    if text not in ("O", "|O", "O8", "|O8", "O4", "|O4"):
        raise Refused(f"holds an array of type {one_line(text)}; expected arrays of objects only")
    return OBJECT


def _encode(text: object, encoding: object = None) -> bytes | Span:
    if encoding not in ("latin1", "latin-1"):
        raise Refused("encodes text otherwise than Python 3 does to write bytes")
    if type(text) is Span and text.is_text:
        return Span(text.offset, text.length, is_latin1=True)
    if type(text) is not str:
        raise ValueError("bytes that were not written as text")
    return text.encode("latin-1")


def _defaultdict(factory: object = None) -> dict:
    if factory is not None and factory is not _LIST:
        raise Refused("holds a defaultdict of something other than lists")
    return {}


def _no_bytes() -> bytes:
    return b""  # how Python 3 writes an empty byte string in protocol 2


_CORES = ("numpy.core", "numpy._core")
_MODULES = ("numpy", *_CORES, *(f"{core}.multiarray" for core in _CORES))
_NAMES: dict[str, object] = {
    **{f"{core}.multiarray._reconstruct": _reconstruct for core in _CORES},
    **{f"{module}.ndarray": _NDARRAY for module in _MODULES},
    **{f"{module}.dtype": _dtype for module in _MODULES},
    **{f"{module}.list": _LIST for module in ("builtins", "__builtin__")},
    **{f"{module}.bytes": _no_bytes for module in ("builtins", "__builtin__")},
    "_codecs.encode": _encode,
    "collections.defaultdict": _defaultdict,
}


def stand_in(module: str, name: str) -> object:
    """What answers a name that a pickle asks for.

    Raises:
        Refused: when plain data do not need that name.
    """
    asked = f"{module}.{name}"
    if asked not in _NAMES:
        raise Refused(f"asks for {one_line(asked)}, which is not data: refused, and nothing was run")
    return _NAMES[asked]
