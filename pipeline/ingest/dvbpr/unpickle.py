"""Follows a pickle's instructions without trusting it and without keeping its tables and images in memory.

numpy.load would run whatever the pickle asks for. Here the pickle's instructions are followed by Python's own
unpickler with three changes: it knows no name but those that arrays of plain data are made of, and answers even
those with stand-ins; instructions that plain data do not need are refused; a long string is not read but answered
with where it lies in the file, so that memory does not grow with the images. Neither does it grow with the records:
the array's first entries are tables, which hand on what they get, and of the objects that the pickle numbers only those
are remembered that it asks for again.
"""

import os
import pickle
from collections.abc import Callable
from struct import unpack
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar

from pipeline.ingest.dvbpr.fetched import LONGEST_LINE
from pipeline.ingest.dvbpr.standins import OBJECT, ObjectArray, Refused, Span, stand_in
from pipeline.ingest.dvbpr.tables import TABLES, Keeper, Keyed, Listed

LONGEST_STRING = 512  # bytes; longer ones stay in the file
MOST_COPIED = 1 << 16  # elements and bytes that a file may have copied beyond twice its size
MOST_SHARED = 1 << 16  # different short strings kept to hand out again
EVERY = 4096  # instructions between two words of how far it is
STATE = 5  # parts of an array's state; the third is its type, the last its elements

# Strings and tables as protocol 0 spells them are among them: numpy has always written protocol 2 or later.
_FORBIDDEN = (
    *("STRING", "UNICODE", "DICT", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "OBJ", "NEWOBJ", "NEWOBJ_EX"),
    *("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EMPTY_SET", "FROZENSET", "ADDITEMS"),
)
_KEYS = (str, bytes, int, float, bool, type(None))


def _forbid(opcode: str) -> Callable[[Any], None]:
    def refuse(unpickler: "Unpickler") -> None:
        raise Refused(f"uses the pickle instruction {opcode}, which plain data do not need: refused")

    return refuse


class Unpickler(pickle._Unpickler):
    """Python's unpickler in Python; the one in C cannot be kept from reading strings.

    Only find_class puts anything on the stack that can be called, so whatever is called is a stand-in of ours.

    Args:
        file: opened where the pickle begins.
        store: gets the entries of its tables.
        fetched: how often each numbered object is asked for, as `count_fetched` says; it is counted down.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    # What Python's unpickler sets up when it loads, and declares nowhere.
    append: Callable[[object], None]
    memo: dict[int, object]
    metastack: list[list]
    pop_mark: Callable[[], list]
    read: Callable[[int], bytes]
    stack: list[Any]

    def __init__(self, file: BinaryIO, store: Keeper, fetched: dict[int, int]):
        super().__init__(SimpleNamespace(read=file.read, readline=self._line), encoding="bytes")
        self._file, self._store, self._fetched = file, store, fetched
        self._numbered = 0
        self._size = os.fstat(file.fileno()).st_size
        self._copies_left = MOST_COPIED + 2 * self._size
        self._shared: dict[str | bytes, str | bytes] = {}

    def load(self, at: Callable[[int], None] = lambda place: None) -> object:
        """Gives what the pickle holds; `at` is told now and then which byte has been reached."""
        self.read, self.readline = self._file.read, self._line  # frames are passed over, so nothing stands between
        self.metastack, self.stack = [], []
        self.append = self.stack.append
        read, dispatch = self.read, self.dispatch
        try:
            while True:
                at(self._file.tell())
                for _ in range(EVERY):
                    if not (code := read(1)):
                        raise EOFError
                    dispatch[code[0]](self)
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            return stop.value

    def find_class(self, module: str, name: str) -> object:
        """Answers a name that the pickle asks for; Raises Refused unless it is one of plain data."""
        return stand_in(module, name)

    def _put(self, number: int) -> None:
        if number in self._fetched:
            self.memo[number] = self.stack[-1]

    def _load_binput(self) -> None:
        number = self.read(1)[0]
        if number in self._fetched:
            self.memo[number] = self.stack[-1]

    def _load_long_binput(self) -> None:  # by far the most frequent instruction
        (number,) = unpack("<I", self.read(4))
        if number in self._fetched:
            self.memo[number] = self.stack[-1]

    def _load_memoize(self) -> None:
        self._put(self._numbered)
        self._numbered += 1

    def _get(self, number: int) -> None:
        if number not in self.memo:
            raise ValueError(f"Memo value not found at index {number}")
        self.append(self.memo[number])
        self._fetched[number] -= 1
        if not self._fetched[number]:
            del self.memo[number], self._fetched[number]

    def _may_begin_table(self) -> bool:
        """Whether a dict or list that begins here may be one of the tables, or the elements of an array that is one.

        It may also be the only entry of a table: then Python sets it without a mark.
        """
        depth = len(self.metastack)
        if depth not in (2, 3):
            return False
        state = self.metastack[1]
        if len(state) != STATE or state[2] is not OBJECT:
            return False
        if depth == 2:
            return len(self.stack) < TABLES
        return len(self.stack) == STATE - 1 and self.stack[2] is OBJECT and len(self.metastack[2]) <= TABLES

    def _load_dict(self) -> None:
        self.append(Keyed(self._store) if self._may_begin_table() else {})

    def _load_list(self) -> None:
        self.append(Listed(self._store) if self._may_begin_table() else [])

    def _line(self) -> bytes:
        line = self._file.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise EOFError("a line without an end")
        return line

    def _string(self, length: int, is_text: bool = False) -> None:
        if not 0 <= length <= LONGEST_STRING:
            start = self._file.tell()
            if not 0 <= length <= self._size - start:  # said at once, rather than by a seek that goes too far
                raise EOFError(f"a string of {length} bytes in a file of {self._size}")
            self._file.seek(start + length)
            self.append(Span(start, length, is_text))
            return
        data = self.read(length)
        if len(data) < length:
            raise EOFError("the file ends within a string")
        value = str(data, "utf-8", "surrogatepass") if is_text else data
        # The same few keys and categories come a million times, each as a string of its own.
        shared = self._shared
        self.append(shared.setdefault(value, value) if len(shared) < MOST_SHARED else shared.get(value, value))

    def _load_integer(self) -> None:
        (length,) = unpack("<i", self.read(4))
        if not 0 <= length <= 16:
            raise ValueError(f"an integer of {length} bytes")
        self.append(int.from_bytes(self.read(length), "little", signed=True))

    def _load_frame(self) -> None:
        # A frame says how much to read ahead. The file is read as it comes, so a large one costs nothing.
        (length,) = unpack("<Q", self.read(8))
        if length > self._size - self._file.tell():
            raise EOFError(f"a frame of {length} bytes in a file of {self._size}")

    def _copy(self, amount: int) -> None:
        # The same list, or the same text, may be given to an array, or be encoded, again and again.
        self._copies_left -= amount
        if self._copies_left < 0:
            raise Refused(f"copies the same things so often that they outgrow its {self._size} bytes: refused")

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        value = self.stack.pop()(*arguments)
        self._copy(len(value) if type(value) is bytes else 0)
        self.append(Keyed(self._store) if type(value) is dict and self._may_begin_table() else value)

    def _load_build(self) -> None:
        state = self.stack.pop()
        if type(self.stack[-1]) is ObjectArray:
            if (
                type(state) is tuple
                and len(state) == 5
                and type(state[1]) is tuple
                and type(state[4]) in (list, Listed)
            ):
                self._copy(len(state[4]) * min(len(state[1]), 64))
            self.stack[-1].fill(state)
        elif self.stack[-1] is not OBJECT:
            raise Refused("sets the state of something other than an array")

    def _set(self, target: Any, pairs: list) -> None:
        keys = pairs[::2]
        # Nested tuples of tuples, a few bytes each, would take longer to hash than anyone lives.
        if type(target) not in (dict, Keyed) or not all(type(key) in _KEYS for key in keys):
            raise ValueError("a table whose keys are neither numbers nor short strings")
        target.update(zip(keys, pairs[1::2], strict=True))

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def _load_setitems(self) -> None:
        pairs = self.pop_mark()
        self._set(self.stack[-1], pairs)

    def _load_inst(self) -> None:
        self.find_class(self._line()[:-1].decode("utf-8"), self._line()[:-1].decode("utf-8"))
        raise Refused("makes an object in a way that plain data do not need (INST)")

    dispatch.update(
        {
            pickle.SHORT_BINSTRING[0]: lambda self: self._string(self.read(1)[0]),
            pickle.SHORT_BINBYTES[0]: lambda self: self._string(self.read(1)[0]),
            pickle.SHORT_BINUNICODE[0]: lambda self: self._string(self.read(1)[0], is_text=True),
            pickle.BINSTRING[0]: lambda self: self._string(*unpack("<i", self.read(4))),
            pickle.BINBYTES[0]: lambda self: self._string(*unpack("<I", self.read(4))),
            pickle.BINBYTES8[0]: lambda self: self._string(*unpack("<Q", self.read(8))),
            pickle.BINUNICODE[0]: lambda self: self._string(*unpack("<I", self.read(4)), is_text=True),
            pickle.BINUNICODE8[0]: lambda self: self._string(*unpack("<Q", self.read(8)), is_text=True),
            pickle.PUT[0]: lambda self: self._put(int(self.readline())),
            pickle.BINPUT[0]: _load_binput,
            pickle.LONG_BINPUT[0]: _load_long_binput,
            pickle.MEMOIZE[0]: _load_memoize,
            pickle.GET[0]: lambda self: self._get(int(self.readline())),
            pickle.BINGET[0]: lambda self: self._get(self.read(1)[0]),
            pickle.LONG_BINGET[0]: lambda self: self._get(*unpack("<I", self.read(4))),
            pickle.EMPTY_DICT[0]: _load_dict,
            pickle.EMPTY_LIST[0]: _load_list,
            pickle.LONG4[0]: _load_integer,
            pickle.FRAME[0]: _load_frame,
            pickle.REDUCE[0]: _load_reduce,
            pickle.BUILD[0]: _load_build,
            pickle.SETITEM[0]: _load_setitem,
            pickle.SETITEMS[0]: _load_setitems,
            pickle.INST[0]: _load_inst,
        }
    )
    for _opcode in _FORBIDDEN:
        dispatch[getattr(pickle, _opcode)[0]] = _forbid(_opcode)
