"""Which of the objects that a pickle numbers it ever asks for again: the only ones that a reader has to remember.

Python numbers every object as it writes it, and names a few of them again. A first walk over the instructions, which
makes nothing, finds those.
"""

import io
import pickle
import pickletools
from collections.abc import Callable

LONGEST_LINE = 512  # bytes; names and some numbers are lines, and a file may be one endless line
BLOCK = 8192  # bytes read at a time; images, which are longer, are passed over
MARGIN = 16  # bytes: an instruction without its text or lines is shorter
LINES = 2 * LONGEST_LINE  # bytes: the most lines that an instruction has

# Of each instruction the bytes of its argument as pickletools has it: less than zero where they are not always as many.
_ARGUMENTS = {ord(opcode.code): opcode.arg.n if opcode.arg else 0 for opcode in pickletools.opcodes}
_GET, _BINGET, _LONG_BINGET, _STOP = (code[0] for code in (pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.STOP))
_SPECIAL = (_BINGET, _LONG_BINGET, _STOP)
# Of each byte how far the next instruction is, by itself; 0 where more must be looked at, or it is none.
_STEPS = [max(0, 1 + _ARGUMENTS.get(code, -1)) if code not in _SPECIAL else 0 for code in range(256)]
_WIDTHS = {  # bytes of an argument's length, where it stands before it, and whether it has a sign
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
_PREFIXES = {code: _WIDTHS[kind] for code, kind in _ARGUMENTS.items() if kind in _WIDTHS}
_LINES = {code: 1 for code, kind in _ARGUMENTS.items() if kind == pickletools.UP_TO_NEWLINE}
_LINES |= {pickle.GLOBAL[0]: 2, pickle.INST[0]: 2}


def count_fetched(file: io.BufferedReader, size: int, *, at: Callable[[int], None]) -> dict[int, int]:
    r"""Counts how often each numbered object is asked for, by its number; those never asked for are not in it.

    Ends in silence where the pickle does, and where it is damaged: whoever reads it then meets the same damage. Takes
    some 100 bytes of memory for a number that is asked for, which takes the file two at least.

    Args:
        file: opened where the pickle begins; it is left anywhere.
        size: of the file, in bytes.
        at: is told at every block which byte has been reached.

    >>> data = pickle.dumps(["a", "b", "a"], 4)
    >>> count_fetched(io.BufferedReader(io.BytesIO(data)), len(data), at=lambda place: None)
    {1: 1}
    """
    counts: dict[int, int] = {}
    start: int | None = file.tell()
    while start is not None and start < size:
        at(start)
        file.seek(start)
        step = _walk(file.read(BLOCK), counts)
        start = None if step is None else start + step
    return counts


def _walk(block: bytes, counts: dict[int, int]) -> int | None:
    """Counts what a block of instructions asks for, and returns how far it leads; None where it leads nowhere."""
    is_last = len(block) < BLOCK
    place, end, steps = 0, len(block) - (0 if is_last else MARGIN), _STEPS
    block += pickle.STOP * MARGIN
    while place < end:
        code = block[place]
        if step := steps[code]:
            place += step
        elif code in _PREFIXES:
            width, is_signed = _PREFIXES[code]
            place += 1 + width
            length = int.from_bytes(block[place - width : place], "little", signed=is_signed)
            if length < 0:
                return None
            place += length
        elif code in (_BINGET, _LONG_BINGET):
            width = 1 if code == _BINGET else 4
            number = int.from_bytes(block[place + 1 : place + 1 + width], "little")
            counts[number] = counts.get(number, 0) + 1
            place += 1 + width
        elif code in _LINES:
            if place and not is_last and place > end - LINES:
                return place  # its lines may end in the next block
            place = _behind_lines(block, place, counts)
            if not place:
                return None
        else:
            return None
    return place


def _behind_lines(block: bytes, place: int, counts: dict[int, int]) -> int:
    """Where the lines of an instruction end, whose number counts if it asks for one; 0 where they are damaged."""
    is_get, start = block[place] == _GET, place + 1
    for _ in range(_LINES[block[place]]):
        end = block.find(b"\n", start, start + LONGEST_LINE)
        if end < 0:
            return 0
        line, start = block[start:end], end + 1
        if is_get:
            try:
                counts[int(line)] = counts.get(int(line), 0) + 1
            except ValueError:
                return 0
    return start
