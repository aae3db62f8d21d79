"""What is wrong with a mapping that a person wrote, in a line, with the name that was meant."""

import difflib
from collections.abc import Iterable
from typing import get_args

import pydantic
from pydantic import BaseModel

from pipeline.core.text import shortened, shown


def describe(error: pydantic.ValidationError, model: type[BaseModel]) -> str:
    """The first fault in a line; an unknown key before all others, for a misspelt key is also a missing one."""
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    *section, name = map(str, first["loc"] or ["the file"])
    key = shortened(" ".join(".".join([*section, name]).split()))
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}{nearest(name, _keys(section, model))}"
    if first["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, not {shown(first['input'])}"


def _keys(section: list[str], model: type[BaseModel]) -> list[str]:
    """The keys that a section knows, by the names that lead to it."""
    for name in section:
        if field := model.model_fields.get(name):  # else an alias: its section is that of the aliases' values
            types = [field.annotation, *get_args(field.annotation)]
            model = next((kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def nearest(name: str, known: Iterable[str]) -> str:
    """Such as "; did you mean average?"; empty where nothing is near.

    >>> nearest("avarage", ["average", "attention"])
    '; did you mean average?'
    """
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
