"""Settings, typed: pipeline/params.yaml read once, every unknown key or impossible value refused by name."""

import difflib
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from ruamel.yaml import YAML, YAMLError

from pipeline.errors import SettingsError
from pipeline.heads.presets import HeadSpec, resolve

Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]  # no dot: DVC reads one as a path into the settings


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SourceSettings(Section):
    """Where the raw data are.

    Attributes:
        name: the format.
        path: a file or folder, relative to the repository; the demo needs none and ignores it.
    """

    name: Literal["demo", "dvbpr", "table"]
    path: str


class DemoSettings(Section):
    """Size and seed of the simulated catalogue."""

    items: PositiveInt
    users: PositiveInt
    seed: Seed


class SplitSettings(Section):
    """Shares of the sets that are held out; the rest trains."""

    seed: int
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
    max_images: PositiveInt
    held_out: PositiveInt
    drop_above_mean: PositiveFloat
    lower_case: bool
    stop_categories: list[str]
    least_items: PositiveInt
    new_items: Annotated[float, Field(ge=0, lt=1)]
    split: SplitSettings


class BackboneSettings(Section):
    """A timm model and where its weights come from: "package:NAME", "hub", or a file."""

    model: str
    weights: str


class CompareSettings(Section):
    """Which backbones and heads the graph trains and the tables show."""

    backbones: Annotated[list[str], Field(min_length=1)]
    heads: Annotated[list[str], Field(min_length=1)]


class EmbedSettings(Section):
    """Stage one. None of these is part of an embedding's identity.

    Attributes:
        engine: the runtime: "openvino", "torch", or "auto" for the fastest there is.
        precision: "auto": bfloat16 where the processor has it and some real images come out the same; or "float32".
        batch_size: images a batch; 0: what suits the device.
        threads: cores to use; 0: all that this process may use.
    """

    engine: Literal["auto", "openvino", "torch"]
    precision: Literal["auto", "float32"]
    batch_size: Annotated[int, Field(ge=0)]
    threads: Annotated[int, Field(ge=0)]


class TrainSettings(Section):
    """Stage two, the same for every head.

    Attributes:
        seeds: one run each; the first one tries every learning rate.
        learning_rates: the peak of the one-cycle schedule; validation chooses one.
        batch_size: sets a step.
        max_epochs: at most.
        patience: epochs without a better validation score before a run stops.
        positive_weight: of positives in the loss.
        weight_decay: of AdamW.
    """

    seeds: Annotated[list[Seed], Field(min_length=1)]
    learning_rates: Annotated[list[PositiveFloat], Field(min_length=1)]
    batch_size: PositiveInt
    max_epochs: PositiveInt
    patience: PositiveInt
    positive_weight: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)]


class EvaluateSettings(Section):
    """The figures.

    Attributes:
        ks: how many labels are recommended, one row of the tables each.
        resamples: bootstrap resamples of users behind each interval.
    """

    ks: Annotated[list[PositiveInt], Field(min_length=1)]
    resamples: Annotated[int, Field(ge=100)]


class AblationSettings(Section):
    """What the peculiarities of the published code do to the figures.

    Attributes:
        backbone: the one whose vectors are used.
        heads: presets that get them, one at a time.
    """

    backbone: str
    heads: Annotated[list[str], Field(min_length=1)]


class Params(Section):
    """All of params.yaml; `swap` names, for an old backbone, the new ones that its heads are tried with."""

    source: SourceSettings
    demo: DemoSettings
    sets: SetSettings
    compare: CompareSettings
    backbones: dict[Alias, BackboneSettings]
    heads: dict[Alias, str | dict]
    embed: EmbedSettings
    train: TrainSettings
    evaluate: EvaluateSettings
    ablation: AblationSettings
    swap: dict[Alias, Annotated[list[str], Field(min_length=1)]]

    @model_validator(mode="after")
    def _names_are_declared(self) -> "Params":
        for kind in ("backbones", "heads"):
            for alias in getattr(self.compare, kind):
                self.require(kind, alias)
        self.require("backbones", self.ablation.backbone)
        for name in self.ablation.heads:
            resolve(name)
        for old, others in self.swap.items():
            for alias in (old, *others):
                if alias not in self.compare.backbones:
                    raise SettingsError(
                        f"swap: {alias!r} is not under compare.backbones{_nearest(alias, self.compare.backbones)}"
                    )
            if old in others:
                raise SettingsError(f"swap.{old} lists {old} itself")
        for alias in self.heads:
            self.head(alias)
        return self

    @model_validator(mode="after")
    def _nothing_is_listed_twice(self) -> "Params":
        for name, values in (
            ("compare.backbones", self.compare.backbones),
            ("compare.heads", self.compare.heads),
            ("ablation.heads", self.ablation.heads),
            ("train.seeds", self.train.seeds),
            ("train.learning_rates", self.train.learning_rates),
            ("evaluate.ks", self.evaluate.ks),
            *((f"swap.{old}", others) for old, others in self.swap.items()),
        ):
            if len(set(values)) < len(values):
                raise SettingsError(f"{name} lists something twice: {values}")
        return self

    def backbone(self, alias: str) -> BackboneSettings:
        """A backbone by its alias.

        Raises:
            SettingsError: when it is not declared.
        """
        self.require("backbones", alias)
        return self.backbones[alias]

    def head(self, alias: str) -> HeadSpec:
        """A head by its alias.

        Raises:
            SettingsError: when it is not declared, or not a head.
        """
        self.require("heads", alias)
        try:
            return resolve(self.heads[alias])
        except SettingsError as error:
            raise SettingsError(f"heads.{alias}: {error}") from None

    def swaps(self, old: str | None, new: tuple[str, ...]) -> list[tuple[str, str]]:
        """Pairs of an old backbone and a new one: those given, or, of what is left open, those under `swap`.

        Raises:
            SettingsError: when one is not declared, both are the same, or none is listed.
        """
        if old is None:
            return [(old, other) for old, others in self.swap.items() for other in others]
        for alias in (old, *new):
            self.require("backbones", alias)
        if old in new:
            raise SettingsError(f"{old} cannot be swapped for itself")
        if not (chosen := new or self.swap.get(old)):
            raise SettingsError(f"swap lists no backbone for {old}: name one, as in visagg swap {old} NEW")
        return [(old, other) for other in chosen]

    def require(self, kind: str, alias: str) -> None:
        """Raises SettingsError unless an alias is declared under `kind` ("backbones" or "heads")."""
        declared = getattr(self, kind)
        if alias not in declared:
            raise SettingsError(
                f"unknown {kind[:-1]} {alias!r}{_nearest(alias, declared)} "
                f"(declared under {kind}: {', '.join(declared)})"
            )


def load(path: Path) -> Params:
    """Reads params.yaml.

    Raises:
        SettingsError: when it is missing, no YAML, or has an unknown key or an impossible value.
    """
    try:
        content = YAML(typ="safe").load(path)  # YAML 1.2, as DVC reads it: 1e-3 is a number
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing: run from the repository's root, or give --params") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from None
    try:
        return Params.model_validate(content)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    except ValidationError as error:
        raise SettingsError(f"{path}: {_describe(error)}") from None


def _describe(error: ValidationError) -> str:
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")  # a misspelt key is missing too
    *section, name = map(str, first["loc"] or ["the file"])
    key = " ".join(".".join([*section, name]).split())
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}{_nearest(name, _keys(section))}"
    if first["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r}"


def _keys(section: list[str]) -> list[str]:
    """The keys that a section knows, by the names that lead to it."""
    model: type[BaseModel] = Params
    for name in section:
        field = model.model_fields.get(name)
        if field is None:
            continue  # an alias
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _nearest(name: str, known: list[str] | dict) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
