"""The settings behind published tables, written over those in params.yaml: only what differs has to be shipped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from pipeline.core.errors import SettingsError
from pipeline.core.files import write_aside
from pipeline.core.text import printable, shown
from pipeline.core.yaml_file import read_yaml
from pipeline.settings.settings import load

WIDEST = 4096  # characters: lines are not folded


class _Representer(RoundTripRepresenter):
    """Spells nothing as `null`, as params.yaml does."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def write_over(params: Path, changes: Path) -> str:
    """Writes the settings of a file over those of params.yaml, whose others, comments and order stay.

    A section is entered; a list, or a section that is given as {}, is replaced as a whole.

    Args:
        params: the settings, which are replaced when all of them are possible.
        changes: YAML with some sections and keys.

    Returns:
        What was changed, a line each.

    Raises:
        SettingsError: when a file is no YAML, or the result has an unknown key or an impossible value.
    """
    load(params)
    wanted = read_yaml(changes)
    if not isinstance(wanted, dict) or not wanted:
        raise SettingsError(f"{changes} names no settings; expected sections as in {params}")
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width, yaml.preserve_quotes = WIDEST, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(params.read_text(encoding="utf-8"))
    lines = list(_replace(content, wanted, ()))
    with write_aside(params) as aside:
        with aside.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
        _check(aside, changes)
    return "\n".join(lines) or f"{params} has these settings already"


def _replace(content: Any, wanted: dict, above: tuple[str, ...]) -> Iterator[str]:
    """Replaces what differs, and says each: `train.seeds: [0, 1]`."""
    for key, value in wanted.items():
        old, path = content.get(key), (*above, str(key))
        if isinstance(old, dict) and isinstance(value, dict) and value:
            yield from _replace(old, value, path)
        elif old != value or key not in content:
            content[key] = (
                _list_like(old, value) if isinstance(old, CommentedSeq) and isinstance(value, list) else value
            )
            yield printable(f"{'.'.join(path)}: {shown(value)}")


def _list_like(old: CommentedSeq, values: list) -> CommentedSeq:
    """A list that is spelt as another one, in a line or below one another, with the comment that stood behind it."""
    new = CommentedSeq(values)
    if old.fa.flow_style():
        new.fa.set_flow_style()
    if (comment := old.ca.items.get(len(old) - 1)) and values:
        new.ca.items[len(new) - 1] = comment
    return new


def _check(written: Path, changes: Path) -> None:
    try:
        load(written)
    except SettingsError as error:
        raise SettingsError(str(error).replace(str(written), str(changes), 1)) from None
