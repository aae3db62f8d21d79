"""Settings, typed: pipeline/params.yaml read once, every unknown key or impossible value refused by name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.core import bounds
from pipeline.core.bounds import Alias, Count, Distinct, Few, Name, Place, Rate, Seed, Share
from pipeline.core.errors import SettingsError
from pipeline.core.misspelt import describe, nearest
from pipeline.core.text import printable, shortened, shown
from pipeline.core.yaml_file import read_yaml
from pipeline.heads.presets import PRESETS, REGULARISED
from pipeline.heads.registry import parse
from pipeline.heads.spec import HeadSpec

MOST_CHARACTERS = 400  # of what is wrong with a file


class Section(BaseModel):
    """A mapping of params.yaml. It knows its keys, and holds what YAML gives, unconverted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SourceSettings(Section):
    """The format of the raw data, and a file or folder, relative to the project's root; the demo ignores that one."""

    name: Literal["demo", "dvbpr", "table"]
    path: Place


class DemoSettings(Section):
    """Size and seed of the simulated catalogue."""

    items: Count
    users: Count
    seed: Seed


class SplitSettings(Section):
    """Shares of the sets that are held out; the rest trains."""

    seed: bounds.Hashed
    validation: Share
    test: Share

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> "SplitSettings":
        if self.validation + self.test >= 1:
            raise SettingsError("sets.split: validation and test leave nothing to train on")
        return self


class SetSettings(Section):
    """How purchases become labelled sets; the published protocol, as parameters.

    Attributes:
        task: "interests" or "next".
        max_images: most images a set.
        held_out: for `next`, last purchases held out where the source does not divide them.
        drop_above_mean: users with more than this multiple of the mean number of purchases are left out.
        lower_case: whether categories are lower-cased.
        stop_categories: categories that are never a label.
        new_items: share of the items, drawn by a hash of their id, that only validation and test sets show, which then
            show no others; 0: users share items, as in the published protocol.
        least_items: least items that have a category, for it to be a label.
        split: how sets are divided.
    """

    task: Literal["interests", "next"]
    max_images: Few
    held_out: Few
    drop_above_mean: bounds.Weight
    lower_case: bool
    stop_categories: Annotated[list[str], Field(max_length=10_000)]
    least_items: Count
    new_items: bounds.SomeShare
    split: SplitSettings


class BackboneSettings(Section):
    """A timm model and where its weights come from: "package:NAME", "hub", or a file."""

    model: Name
    weights: Place


class CompareSettings(Section):
    """Which backbones and heads the graph trains and the tables show."""

    backbones: Distinct[Alias]
    heads: Distinct[Alias]


class EmbedSettings(Section):
    """Stage one. None of these is part of a fingerprint.

    Attributes:
        engine: the runtime: "openvino", "torch", or "auto" for the fastest there is.
        precision: "auto": bfloat16 where the processor has it and some real images come out the same; or "float32".
        batch_size: images a batch; 0: what suits the device.
        threads: cores to use; 0: all that this process may use.
    """

    engine: Literal["auto", "openvino", "torch"]
    precision: Literal["auto", "float32"]
    batch_size: bounds.Batch
    threads: bounds.Threads


class TrainSettings(Section):
    """Stage two, the same for every head.

    Attributes:
        seeds: one run each; the first one tries rates, dropouts and cycles.
        learning_rates: the peak of the one-cycle schedule; validation chooses one.
        dropouts: likewise, of heads that leave it to tuning.
        cycles: lengths of the schedule, in epochs, ascending: all rates and dropouts are tried with the first one, the
            better half of them with the next one, and so on.
        batch_size: sets a step.
        patience: epochs without a better validation score before a run stops.
        positive_weight: of positives in the loss.
        weight_decay: of AdamW.
    """

    seeds: Distinct[Seed]
    learning_rates: Distinct[Rate]
    dropouts: Distinct[bounds.SomeShare]
    cycles: Distinct[Few]
    batch_size: Count
    patience: Few
    positive_weight: bounds.Weight
    weight_decay: bounds.Decay

    @model_validator(mode="after")
    def _cycles_ascend(self) -> "TrainSettings":
        if self.cycles != sorted(self.cycles):
            raise SettingsError("train.cycles: name the shortest one first")
        return self


class EvaluateSettings(Section):
    """How many labels are recommended, one row of the tables each; bootstrap resamples of users behind an interval."""

    ks: Distinct[Few]
    resamples: bounds.Resamples


class AblationSettings(Section):
    """The heads that get the peculiarities of the published code, one at a time, and the backbone under them."""

    backbone: Alias
    heads: Distinct[Alias]


class CaseSettings(Section):
    """How simulated sets come by their labels; see `sets.simulation.Case`."""

    rule: Literal["any", "majority", "pairs", "next"]
    gifts: bounds.SomeShare
    photos: Annotated[int, Field(ge=1, le=1000)]


class ConditionsSettings(Section):
    """Heads that are trained on simulated users, for whom the assumptions of some heads fail.

    Attributes:
        backbone: whose vectors they read.
        heads: which; none: nothing is simulated.
        users: how many are simulated for each case.
        seed: of them.
        cases: by name.
    """

    backbone: Alias
    heads: Annotated[list[Alias], Field(max_length=100)]
    users: Count
    seed: Seed
    cases: dict[Name, CaseSettings]


class Settings(Section):
    """All of params.yaml.

    Attributes:
        heads: heads beside the presets, by name, as their parts.
        swap: for an old backbone, the new ones that its heads are tried with.
    """

    source: SourceSettings
    demo: DemoSettings
    sets: SetSettings
    compare: CompareSettings
    backbones: dict[Alias, BackboneSettings]
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
        for alias in (*self.compare.backbones, self.ablation.backbone, *simulated):
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

    def backbone(self, alias: str) -> BackboneSettings:
        """A backbone by its alias.

        Raises:
            SettingsError: when it is not declared; with the nearest one.
        """
        if alias not in self.backbones:
            declared = f"(declared under backbones: {', '.join(self.backbones)})"
            raise SettingsError(f"unknown backbone {shown(alias)}{nearest(alias, self.backbones)} {declared}")
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


def load(path: Path) -> Settings:
    """Reads params.yaml.

    Raises:
        SettingsError: when it is missing, no YAML, or has an unknown key or an impossible value.
    """
    content = read_yaml(path)
    try:
        return Settings.model_validate(content)
    except (SettingsError, pydantic.ValidationError) as error:
        fault = str(error) if isinstance(error, SettingsError) else describe(error, Settings)
        raise SettingsError(f"{path}: {shortened(printable(fault), MOST_CHARACTERS)}") from None
