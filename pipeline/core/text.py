"""Text from elsewhere, such as a label's name: made fit to be drawn, written and printed."""

import re
import reprlib
import unicodedata

INVISIBLE = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, and what ends a line or paragraph
TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # they turn the direction of what follows
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SUSPECT = re.compile(r"[^ -~\xa0-\u058f]")  # all that is replaced is among these

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80


def printable(text: str) -> str:
    r"""A text without characters that break XML, end a line or turn the direction of writing.

    Tabs and line ends become spaces; other such characters become U+FFFD, so that it is seen that there was something.

    >>> printable("hats\nand\x00ties")
    'hats and�ties'
    """
    return _SUSPECT.sub(lambda found: _replaced(found.group()), text)


def _replaced(character: str) -> str:
    if character in "\t\n\r":
        return " "
    code = ord(character)
    no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    hidden = unicodedata.category(character) in INVISIBLE or code in TURNING or no_character
    return REPLACEMENT if hidden else character


def shortened(text: str, most: int = 80) -> str:
    """A text of at most so many characters: of a longer one, its beginning and its end.

    >>> shortened("abcdefghij", 7)
    'abc…hij'
    """
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def shown(value: object) -> str:
    """A value for a message: its repr, of at most some 80 characters a part, in one line.

    >>> len(shown("a" * 1000))
    80
    """
    return shortened(printable(_REPR.repr(value)), 120)
