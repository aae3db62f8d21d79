"""The pools that there are: the files under `pools/`, each with one class of spec. Needs no torch."""

import importlib
import pkgutil
import reprlib
from functools import cache
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.core.errors import SettingsError
from pipeline.heads import pools
from pipeline.heads.spec import HeadSpec

LARGE_DIM, LARGE_CLASSES = 1280, 100
MOST_PARAMETERS = 200_000_000  # 0.8 GB, three times that in training


@cache
def specs() -> dict[str, type[HeadSpec]]:
    """The class of spec of every pool, by the pool's name, which is that of its file.

    Raises:
        TypeError: when a file defines none or several, or one with another name.

    >>> specs()["attention"].__name__
    'AttentionSpec'
    """
    names = sorted(module.name for module in pkgutil.iter_modules(pools.__path__))
    return {name: _spec_class(name) for name in names}


def _spec_class(pool: str) -> type[HeadSpec]:
    module = importlib.import_module(f"{pools.__name__}.{pool}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, HeadSpec) and value.__module__ == module.__name__
    ]
    if len(classes) != 1 or classes[0].model_fields["pool"].default != pool:
        raise TypeError(f"{module.__file__} must define one HeadSpec, with pool: Literal[{pool!r}] = {pool!r}")
    return classes[0]


@cache
def _any_spec() -> TypeAdapter[HeadSpec]:
    union: Any = Annotated[Union[tuple(specs().values())], Field(discriminator="pool")]  # noqa: UP007 (made at run time)
    return TypeAdapter(union)


def parse(parts: dict[str, Any]) -> HeadSpec:
    """The spec that a mapping describes: the pool's name, and those options that are not left at their defaults.

    Raises:
        SettingsError: when the pool, an option or a value does not exist; with the pools that have such an option.

    >>> parse({"pool": "attention", "gate": "context"}).parameter_count(dim=4, classes=2)
    1818
    """
    if not isinstance(parts, dict):
        raise SettingsError(f"head {reprlib.repr(parts)}: not a mapping of a head's parts, such as {{pool: attention}}")
    try:
        spec = _any_spec().validate_python(parts)
    except ValidationError as error:
        raise SettingsError(f"head {reprlib.repr(parts)}: {_describe(error, parts)}") from None
    if spec.parameter_count(LARGE_DIM, LARGE_CLASSES) > MOST_PARAMETERS:
        large = f"for vectors of {LARGE_DIM:,} numbers and {LARGE_CLASSES} labels it has"
        raise SettingsError(f"head {reprlib.repr(parts)}: {large} more than {MOST_PARAMETERS:,} parameters")
    return spec


def _describe(error: ValidationError, parts: dict[str, Any]) -> str:
    first = error.errors()[0]
    keys = [str(key) for key in first["loc"][1:]]
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"pool: {reprlib.repr(parts.get('pool'))} is none of {', '.join(specs())}"
    if first["type"] == "extra_forbidden":
        having = [name for name, spec in specs().items() if keys[0] in spec.model_fields]
        known = f"pools that have it: {', '.join(having)}" if having else f"it has {', '.join(_options(parts['pool']))}"
        return f"pool {parts['pool']} has no option {keys[0][:60]}; {known}"
    return "".join(f"{key[:60]}: " for key in keys) + first["msg"].removeprefix("Value error, ")


def _options(pool: str) -> list[str]:
    return [name for name in specs()[pool].model_fields if name != "pool"]
