"""A line of a list as a record: JSON, or a Python literal of plain data, which is never run."""

import ast
import json
import re
import warnings

from pipeline.core.errors import Unusable

LONGEST_LITERAL = 256 << 10  # bytes; each becomes some hundred bytes of syntax tree
DEEPEST = 60  # operators or brackets in a row outside any text: more would exhaust Python's own parser
# A text, or one that does not end: it is passed over in one go, so that no text is looked at twice.
_TEXTS = re.compile(rb"""'(?:[^'\\]|\\.)*(?:'|\\?\Z)|"(?:[^"\\]|\\.)*(?:"|\\?\Z)""", re.DOTALL)
_NAMES = re.compile(rb"\b(?!(?:None|True|False|nan|inf)\b|u'')[A-Za-z_]\w*")


def from_json(line: bytes) -> dict:
    """A record of a line of JSON.

    Raises:
        Unusable: it is no JSON, or no object.

    >>> from_json(b'{"asin": "B01"}')
    {'asin': 'B01'}
    """
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        raise Unusable("not UTF-8") from None
    except (ValueError, RecursionError):
        raise Unusable("not JSON: cut or damaged") from None
    return _mapping(record)


def from_literal(line: bytes) -> dict:
    """A record of a Python literal, as the lists of 2014 have them; at most 256 KiB, of plain values only.

    Raises:
        Unusable: it is too long, nested too deep, no literal, or no dict.

    >>> from_literal(b"{'asin': 'B01', 'price': 3.17}")
    {'asin': 'B01', 'price': 3.17}
    """
    if len(line) > LONGEST_LITERAL:
        raise Unusable(f"a literal of more than {LONGEST_LITERAL >> 10} KiB")
    bare = _TEXTS.sub(b"''", line)
    if _NAMES.search(bare):
        raise Unusable("a literal that names something: not plain data")
    if _deepest(bare) > DEEPEST or _runs(bare) > DEEPEST:
        raise Unusable("a literal nested too deep")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts whose backslashes mean nothing
            return _mapping(ast.literal_eval(line.decode("utf-8")))
    except UnicodeDecodeError:
        raise Unusable("not UTF-8") from None
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise Unusable("not a literal: cut or damaged") from None


def _deepest(bare: bytes) -> int:
    depth = most = 0
    for character in bare.translate(None, _NO_BRACKETS):
        depth += 1 if character in b"([{" else -1
        most = max(most, depth)
    return most


def _runs(bare: bytes) -> int:
    """Signs in the literal: each that follows another nests once more, and honest records have one a number."""
    return max((len(run) for run in re.findall(rb"[-+~]+", bare.translate(None, b" \t"))), default=0)


def _mapping(record: object) -> dict:
    if not isinstance(record, dict):
        raise Unusable("not a record")
    return record


_NO_BRACKETS = bytes(set(range(256)) - set(b"()[]{}"))
