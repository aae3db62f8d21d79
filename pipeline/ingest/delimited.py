"""A CSV file, a row at a time: its encoding and its delimiter found or set, and of each row the line it begins on."""

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

from pipeline.core.errors import SourceError, Unusable
from pipeline.core.regular_file import open_regular
from pipeline.core.text import shown
from pipeline.ingest.raw import Wrong

AUTO = "auto"
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "|"}  # those that are looked for, in this order
MARKS = {  # how a file begins that says its encoding
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before the mark of UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
BLOCK = 1 << 20  # bytes
MORE, FEWER = "more fields than the header: quote a field that holds the delimiter", "fewer fields than the header"


@dataclass(frozen=True)
class Form:
    """How CSV files are written.

    Attributes:
        delimiter: between two fields; "auto": the one with which the header names the columns that are needed.
        encoding: a name that Python knows; "auto": what the file's first bytes say, else UTF-8.
    """

    delimiter: str = AUTO
    encoding: str = AUTO


class Delimited:
    """A CSV file with a header, opened anew each time that it is read.

    Args:
        path: the file.
        form: how it is written.
        required: columns that it must have.

    Attributes:
        path: the file.
        columns: names of the columns, in their order.

    Raises:
        SourceError: it cannot be read, is not of its encoding, or lacks a column; with the line and what to set.
    """

    def __init__(self, path: Path, form: Form, required: tuple[str, ...]):
        self.path = path
        self._encoding = _encoding(path, form.encoding)
        _require_text(path, self._encoding, chosen=form.encoding)
        self._first, header = self._header()
        self._delimiter = _delimiter(header, required) if form.delimiter == AUTO else form.delimiter
        self.columns = _fields(header, self._delimiter)
        if missing := [column for column in required if column not in self.columns]:
            raise SourceError(f"{path}: {self._lacks(missing, header, required)}")
        if twice := [column for column in required if self.columns.count(column) > 1]:
            raise SourceError(f"{path} line {self._first}: column {twice[0]} is there twice: rename one of them")

    def rows(self) -> Iterator[tuple[int, list[str] | Unusable]]:
        """Yields each row's line, from 1, and its fields, or why it is none.

        Raises:
            SourceError: a quote is opened and not closed.
        """
        with self._open() as file:
            for _ in range(self._first):
                file.readline()
            reader = csv.reader(file, delimiter=self._delimiter, strict=True)
            start = self._first + 1
            while True:
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    end = self._first + reader.line_num
                    if end > start or "unexpected end" in str(error) or "field limit" in str(error):
                        raise SourceError(self._open_quote(start)) from None
                    yield start, Unusable("a quote inside a quoted field: double it")
                else:
                    end = self._first + reader.line_num
                    if fields and len(fields) != len(self.columns):
                        if end > start:
                            raise SourceError(self._open_quote(start))
                        reason = MORE if len(fields) > len(self.columns) else FEWER
                        yield start, Wrong(reason, "", self._delimiter.join(fields))
                    elif fields:
                        yield start, fields
                start = end + 1

    def _open(self) -> TextIO:
        return TextIOWrapper(BufferedReader(cast("RawIOBase", open_regular(self.path))), self._encoding)

    def _header(self) -> tuple[int, str]:
        """The first line that says something, counted from 1, and its text."""
        with self._open() as file:
            for number, line in enumerate(iter(lambda: file.readline(BLOCK), ""), 1):
                if line.strip():
                    return number, line.rstrip("\n")
        raise SourceError(f"{self.path}: it is empty; expected a header and rows")

    def _open_quote(self, line: int) -> str:
        return (
            f'{self.path} line {line}: a quote is opened in this row and not closed: close it, or write "" for a quote '
            "that is part of the text"
        )

    def _lacks(self, missing: list[str], header: str, required: tuple[str, ...]) -> str:
        found = ascii(", ".join(self.columns[:20]))[:200]  # of a file that is no table, the first line is anything
        said = f"no column {', '.join(missing)}; expected {', '.join(required)}, found {found}"
        if "\0" in header:
            return f"{said}: this looks like UTF-16: set source.encoding to utf-16-le"
        if (other := _delimiter(header, required)) != self._delimiter and len(_fields(header, other)) > 1:
            return f"{said}: the delimiter looks like {DELIMITERS[other]}: set source.delimiter to auto"
        return said


def _encoding(path: Path, chosen: str) -> str:
    """The encoding that is read: the chosen one, or what the file's first bytes say."""
    with open_regular(path) as file:
        begin = file.read(4)
    marked = next((encoding for mark, encoding in MARKS.items() if begin.startswith(mark)), "utf-8-sig")
    is_utf8 = chosen != AUTO and codecs.lookup(chosen).name == "utf-8"
    return marked if chosen == AUTO else "utf-8-sig" if is_utf8 else chosen


def _require_text(path: Path, encoding: str, *, chosen: str) -> None:
    """Makes sure that the whole file is of its encoding.

    Raises:
        SourceError: with the first line that is not.
    """
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with open_regular(path) as file:
        while True:
            block, state = file.read(BLOCK), decoder.getstate()
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeError as error:
                start = error.start - len(state[0]) if isinstance(error, UnicodeDecodeError) else 0
                decoder.setstate(state)
                line += decoder.decode(block[: max(start, 0)]).count("\n")
                raise SourceError(f"{path} line {line}: {_unlike(error, encoding, chosen)}") from None
            if not block:
                return


def _unlike(error: UnicodeError, encoding: str, chosen: str) -> str:
    """What is wrong with a byte, and what to set."""
    name = encoding.removesuffix("-sig").upper()
    byte = f"byte 0x{error.object[error.start]:02x}" if isinstance(error, UnicodeDecodeError) else "a byte"
    if chosen == AUTO and name == "UTF-8":
        return f"{byte} is not UTF-8: set source.encoding to what the file has, such as cp1252 or latin-1"
    return f"{byte} is not {name}: set source.encoding to {'what the file has' if chosen == AUTO else AUTO}"


def _delimiter(header: str, required: tuple[str, ...]) -> str:
    """The delimiter with which a header names most of the columns that are needed, then most columns.

    >>> _delimiter("user_id;item_id;time,in seconds", ("user_id", "item_id"))
    ';'
    """

    def named(delimiter: str) -> tuple[int, int]:
        fields = _fields(header, delimiter)
        return len({*fields} & {*required}), len(fields)

    return max(DELIMITERS, key=named)


def _fields(line: str, delimiter: str) -> list[str]:
    """The fields of a header, without spaces around them."""
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return [shown(line)]
