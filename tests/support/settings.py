"""Settings for tests: the shipped ones with a few values changed, by their dotted names."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.settings.sections import EmbedSettings
from pipeline.settings.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = ROOT / "pipeline/params.yaml"
ABSENT = object()


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The content of the shipped params.yaml with some values replaced: {"train.seeds": [0]}."""
    return replaced(deepcopy(_shipped()), changes)


@cache
def _shipped() -> dict[str, Any]:
    return YAML(typ="safe").load(SHIPPED)


def replaced(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings, which it alters, with some values replaced by their dotted names, or taken out where they are ABSENT.

    A name whose section does not know it is added; that is how unknown keys are tested.
    """
    for name, value in changes.items():
        *sections, key = name.split(".")
        section = content
        for part in sections:
            section = section[part]
        if value is ABSENT:
            del section[key]
        else:
            section[key] = value
    return content


def make_settings(changes: dict[str, Any] | None = None) -> Settings:
    """Validated settings."""
    return Settings.model_validate(changed(changes or {}))


def write_settings(path: Path, changes: dict[str, Any] | None = None) -> tuple[str, str]:
    """A params.yaml, and the words that let the program read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(changed(changes or {}), file)
    return "--params", str(path)


def change_settings(path: Path, changes: dict[str, Any]) -> None:
    """Replaces some values of a params.yaml that is there already."""
    content = replaced(YAML(typ="safe").load(path), changes)
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(content, file)


def embed_settings(**changes: object) -> EmbedSettings:
    """Settings of stage one for a small run."""
    return EmbedSettings(**{"engine": "torch", "precision": "float32", "batch_size": 4, "threads": 2, **changes})
