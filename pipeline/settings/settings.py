"""Settings as a whole: pipeline/params.yaml read once."""

from collections.abc import Iterable
from pathlib import Path

import pydantic
from pydantic import model_validator

from pipeline.core.bounds import Alias, Distinct
from pipeline.core.errors import SettingsError
from pipeline.core.misspelt import describe, nearest
from pipeline.core.text import printable, shortened, shown
from pipeline.core.yaml_file import read_value, read_yaml
from pipeline.heads.presets import PRESETS, REGULARISED
from pipeline.heads.registry import parse
from pipeline.heads.spec import HeadSpec
from pipeline.project import Project
from pipeline.settings.amazon import AmazonSettings
from pipeline.settings.fetching import FetchSettings
from pipeline.settings.sections import (
    AblationSettings,
    BackboneSettings,
    CompareSettings,
    ConditionsSettings,
    DeclaredBackbone,
    DemoSettings,
    EmbedSettings,
    EvaluateSettings,
    FinetuneSettings,
    Section,
    SetSettings,
    SourceSettings,
    TrainSettings,
)

MOST_CHARACTERS = 400  # of what is wrong with a file


class Settings(Section):
    """All of params.yaml.

    Attributes:
        heads: heads beside the presets, by name, as their parts.
        swap: for an old backbone, the new ones that its heads are tried with.
    """

    source: SourceSettings
    demo: DemoSettings
    amazon_reviews: AmazonSettings = AmazonSettings()
    fetch: FetchSettings = FetchSettings()
    sets: SetSettings
    compare: CompareSettings
    backbones: dict[Alias, DeclaredBackbone]
    finetune: FinetuneSettings
    heads: dict[Alias, dict]
    embed: EmbedSettings
    train: TrainSettings
    evaluate: EvaluateSettings
    ablation: AblationSettings
    conditions: ConditionsSettings
    swap: dict[Alias, Distinct[Alias]]

    @model_validator(mode="after")
    def _names_are_declared(self) -> "Settings":
        if shadowing := sorted(name for name in self.heads if name.removesuffix(REGULARISED) in PRESETS):
            raise SettingsError(f"heads.{shadowing[0]}: a preset has this name")
        simulated = [self.conditions.backbone] if self.conditions.heads else []
        for alias in (*self.backbones, *self.compare.backbones, self.ablation.backbone, *simulated):
            self.backbone(alias)
        for name in (*self.heads, *self.compare.heads, *self.ablation.heads, *self.conditions.heads):
            self.head(name)
        known = self.compare.backbones
        for old, new in self.swap.items():
            for alias in (old, *new):
                if alias not in known:
                    raise SettingsError(f"swap: {alias!r} is not under compare.backbones{nearest(alias, known)}")
            if old in new:
                raise SettingsError(f"swap.{old} lists {old} itself")
        return self

    def of_source(self, name: str | None, path: str | None) -> "Settings":
        """These settings with another source: its format, its path, or both.

        Raises:
            SettingsError: when the path is none.
        """
        given = {key: value for key, value in (("name", name), ("path", path)) if value is not None}
        try:
            source = SourceSettings.model_validate({**self.source.model_dump(), **given})
        except pydantic.ValidationError as error:
            raise SettingsError(f"source: {describe(error, SourceSettings)}") from None
        return self.model_copy(update={"source": source})

    def backbone(self, alias: str) -> BackboneSettings:
        """A backbone by its alias.

        Raises:
            SettingsError: when it is not declared; with the nearest one.
        """
        declared = self._declared(alias)
        if declared.finetune is None:
            return BackboneSettings(declared.model or "", declared.weights or "")
        base = self._declared(declared.finetune)
        if base.finetune is not None:
            raise SettingsError(f"backbones.{alias}: {declared.finetune} is itself fine-tuned; name what it is made of")
        return BackboneSettings(base.model or "", str(Project().finetuned_weights(alias)), declared.finetune)

    def _declared(self, alias: str) -> DeclaredBackbone:
        if alias not in self.backbones:
            declared = f"(declared under backbones: {', '.join(self.backbones)})"
            raise SettingsError(f"unknown backbone {shown(alias)}{nearest(alias, self.backbones)} {declared}")
        given = self.backbones[alias].model_fields_set
        if given != {"model", "weights"} and given - {"seed"} != {"finetune"}:
            raise SettingsError(f"backbones.{alias}: name a model and its weights, or another backbone to finetune")
        return self.backbones[alias]

    def backbones_of(self, aliases: Iterable[str]) -> dict[str, BackboneSettings]:
        """Some backbones, by alias; raises as `backbone`."""
        return {alias: self.backbone(alias) for alias in aliases}

    def head(self, name: str) -> HeadSpec:
        """A head by its name: a preset, or one of `heads`.

        Raises:
            SettingsError: when there is none of that name, with the nearest one, or what is declared is not a head.
        """
        if name in PRESETS:
            return PRESETS[name]
        if name not in self.heads and (base := name.removesuffix(REGULARISED)) != name:
            return self.head(base).regularised()
        if name not in self.heads:
            near = nearest(name, [*self.heads, *PRESETS])
            raise SettingsError(f"unknown head {shown(name)}{near} (visagg heads lists them; params.yaml may add some)")
        try:
            return parse(self.heads[name])
        except SettingsError as error:
            raise SettingsError(f"heads.{name}: {error}") from None

    def require(self, backbone: str, *heads: str) -> None:
        """Raises SettingsError unless all names are known: asked before torch loads."""
        self.backbone(backbone)
        for head in heads:
            self.head(head)

    def compared(self) -> dict[str, HeadSpec]:
        """The heads that are compared, by name."""
        return {name: self.head(name) for name in self.compare.heads}

    def swaps(self, old: str | None, new: tuple[str, ...]) -> list[tuple[str, str]]:
        """Pairs of an old backbone and a new one: those given, or, of what is left open, those under `swap`.

        Raises:
            SettingsError: when one is not declared, both are the same, or none is listed.
        """
        if old is None:
            return [(alias, replacement) for alias, listed in self.swap.items() for replacement in listed]
        self.backbones_of((old, *new))
        if old in new:
            raise SettingsError(f"{old} cannot be swapped for itself")
        if not (chosen := new or self.swap.get(old)):
            raise SettingsError(f"swap lists no backbone for {old}: name one, as in visagg swap {old} NEW")
        return [(old, replacement) for replacement in chosen]


def load(path: Path, changes: Iterable[str] = ()) -> Settings:
    """Reads params.yaml.

    Args:
        path: the file.
        changes: settings to replace once it is read, KEY=VALUE each: the key with its sections, the value as in YAML.

    Raises:
        SettingsError: when it is missing, no YAML, or has an unknown key or an impossible value, or a change has.
    """
    content, changes = read_yaml(path), list(changes)
    for change in changes:
        _replace(content, change)
    try:
        return Settings.model_validate(content)
    except (SettingsError, pydantic.ValidationError) as error:
        if changes:
            load(path)  # where the fault is the file's, it says so
        fault = str(error) if isinstance(error, SettingsError) else describe(error, Settings)
        origin = "--set" if changes else path
        raise SettingsError(f"{origin}: {shortened(printable(fault), MOST_CHARACTERS)}") from None


def _replace(content: object, change: str) -> None:
    """Replaces a setting in what params.yaml holds; a last name that its section does not know is left to the types."""
    name, is_given, text = change.partition("=")
    *sections, key = name.strip().split(".")
    said = f"--set {shortened(printable(change), 80)}"
    if not (is_given and key):
        raise SettingsError(f"{said}: give it as KEY=VALUE, such as train.patience=5")
    for section in sections:
        if not isinstance(content, dict) or section not in content:
            near = nearest(section, content) if isinstance(content, dict) else ""
            raise SettingsError(f"{said}: no section {shown(section)}{near}")
        content = content[section]
    if not isinstance(content, dict):
        raise SettingsError(f"{said}: {shown('.'.join(sections))} holds one value, and has nothing below it")
    try:
        content[key] = read_value(text)
    except ValueError as error:
        raise SettingsError(f"{said}: the value is not YAML: {error}") from None
