"""YAML from a file that somebody else may have written: bounded before anything is built of it."""

import os
import stat
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from pipeline.core.errors import SettingsError
from pipeline.core.text import printable, shortened

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
MOST_DEPTH = 50
MOST_CHARACTERS = 3000  # of one value; a hexadecimal number of so many digits can still be printed


class _Refused(ValueError):
    """The file asks for more than any settings need."""


def read_yaml(path: Path) -> object:
    """What a YAML 1.2 file holds, as DVC reads it: 1e-3 is a number.

    Args:
        path: a regular file of at most 1 MiB.

    Raises:
        SettingsError: when it is missing, not a regular file, too large, not UTF-8, no YAML, or would unfold to more
            than 100,000 values by its aliases.
    """
    try:
        text = _read(path).decode("utf-8")
        _measure(text)
        return YAML(typ="safe").load(text)
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing: run from the repository's root, or give --params") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except _Refused as error:
        raise SettingsError(f"{path} {error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not YAML: byte {error.start} is not UTF-8") from None
    except (YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # what is raised beside YAMLError is of the constructors of numbers, dates and merged keys
        raise SettingsError(f"{path} is not YAML: {shortened(printable(' '.join(str(error).split())), 200)}") from None


def read_value(text: str) -> object:
    """What a YAML value says that was given by itself, such as on the command line.

    Raises:
        ValueError: when it is none, or more than any setting needs; with why, in a line.

    >>> read_value("[1, 1e-3, true]")
    [1, 0.001, True]
    """
    try:
        _measure(text)
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(shortened(printable(" ".join(problem.split())), 200)) from None


def _read(path: Path) -> bytes:
    """The bytes of a regular file; a pipe is not waited for."""
    if "\0" in str(path):
        raise _Refused("cannot be read: its name holds a zero character")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _Refused("cannot be read: it is not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(MOST_BYTES + 1)
    finally:
        os.close(handle)
    if len(content) > MOST_BYTES:
        raise _Refused(f"is not YAML of settings: it has more than {MOST_BYTES:,} bytes")
    return content


def _measure(text: str) -> None:
    """Refuses text that would become too much, from the parser's events: nothing is built, and nothing recurses."""
    sizes: dict[str, int] = {}  # of anchors, unfolded
    open_sizes: list[int] = [0]
    open_anchors: list[str | None] = [None]
    for total, event in enumerate(YAML(typ="safe").parse(text), 1):
        if isinstance(event, CollectionStartEvent):
            open_sizes.append(1)
            open_anchors.append(event.anchor)
        elif isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise _Refused(
                    f"is not YAML of settings: the alias {shortened(printable(event.anchor), 40)} has no value yet"
                )
            open_sizes[-1] += sizes[event.anchor]
        elif isinstance(event, CollectionEndEvent):
            size, anchor = open_sizes.pop(), open_anchors.pop()
            open_sizes[-1] += size
            if anchor:
                sizes[anchor] = size
        elif isinstance(event, ScalarEvent):
            if len(event.value) > MOST_CHARACTERS:
                raise _Refused(f"is not YAML of settings: a value has more than {MOST_CHARACTERS:,} characters")
            open_sizes[-1] += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if max(total, open_sizes[-1]) > MOST_VALUES:
            raise _Refused(f"is not YAML of settings: with its aliases it has more than {MOST_VALUES:,} values")
        if len(open_sizes) > MOST_DEPTH:
            raise _Refused(f"is not YAML of settings: it is nested more than {MOST_DEPTH} deep")
