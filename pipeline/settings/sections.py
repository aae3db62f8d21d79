"""The sections of params.yaml, typed: every unknown key or impossible value is refused by name."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.core import bounds
from pipeline.core.bounds import Alias, Count, Distinct, Few, Name, Place, Rate, Seed, Share
from pipeline.core.errors import SettingsError


class Section(BaseModel):
    """A mapping of params.yaml. It knows its keys, and holds what YAML gives, unconverted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _is_encoding(name: str) -> str:
    """A name that Python has an encoding of text for."""
    try:
        if name == "auto" or "a".encode(name):
            return name
    except (LookupError, UnicodeError, ValueError):
        pass
    raise PydanticCustomError("encoding", "Input should be auto, or an encoding such as utf-8, cp1252 or latin-1")


class SourceSettings(Section):
    """The format of the raw data, and where they are.

    Attributes:
        name: the format.
        path: a file or folder, relative to the project's root; the demo ignores it.
        dates: of table: the form of dates, as strptime has it; "": ISO 8601.
        delimiter: of table: what stands between two fields of a CSV file; "auto": what its header says.
        encoding: of table: of CSV files, by Python's name; "auto": what their first bytes say, else UTF-8.
        most_rejects: the share of the items, images or purchases that may be faulty; above it ingest stops.
    """

    name: Literal["demo", "dvbpr", "table", "amazon_reviews"]
    path: Place
    dates: Annotated[str, Field(max_length=80)] = ""
    delimiter: Literal["auto", ",", ";", "\t", "|"] = "auto"
    encoding: Annotated[str, Field(max_length=40), AfterValidator(_is_encoding)] = "auto"
    most_rejects: bounds.SomeShare = 0.2


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


def _stop(value: object) -> object:
    """What is never a label: a list of categories, or the source's own."""
    names = value if isinstance(value, list) else []
    if value == "auto" or (names is value and len(names) <= 10_000 and all(isinstance(name, str) for name in names)):
        return value
    raise PydanticCustomError("stop", "Input should be auto, or a list of categories")


class SetSettings(Section):
    """How purchases become labelled sets; the published protocol, as parameters.

    Attributes:
        task: "interests" or "next".
        max_images: most images a set.
        held_out: for `next`, last purchases held out where the source does not divide them.
        drop_above_mean: users with more than this multiple of the mean number of purchases are left out.
        lower_case: whether categories are lower-cased.
        stop_categories: categories that are never a label; "auto": those that the source's kind has (`sets.labels`).
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
    stop_categories: Annotated[Literal["auto"] | list[str], PlainValidator(_stop)] = "auto"
    least_items: Count
    new_items: bounds.SomeShare
    split: SplitSettings


@dataclass(frozen=True)
class BackboneSettings:
    """A timm model and where its weights come from: "package:NAME", "hub", or a file.

    Attributes:
        model: timm's name.
        weights: where they are.
        finetuned_from: the alias of the backbone that it was, where `visagg finetune` makes its weights.
    """

    model: str
    weights: str
    finetuned_from: str | None = None


class DeclaredBackbone(Section):
    """An entry under backbones: a model and its weights, or another backbone to fine-tune, with a seed."""

    model: Name | None = None
    weights: Place | None = None
    finetune: Alias | None = None
    seed: Seed = 0


class FinetuneSettings(Section):
    """How the backbones that say finetune are made.

    Attributes:
        blocks: how many of the last blocks are trained.
        learning_rate: the peak of the one-cycle schedule.
        epochs: at most; the best one is kept.
        patience: epochs without a better validation score before a run stops.
        views: of each training image, in turn; kept on the disk between epochs.
    """

    blocks: Few
    learning_rate: Rate
    epochs: Few
    patience: Few
    views: Annotated[int, Field(ge=1, le=100)]


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
        most_steps: of a cycle; where the longest one has more, all are shortened in the same proportion.
        batch_size: sets a step.
        patience: epochs without a better validation score before a run stops.
        positive_weight: of positives in the loss.
        weight_decay: of AdamW.
    """

    seeds: Distinct[Seed]
    learning_rates: Distinct[Rate]
    dropouts: Distinct[bounds.SomeShare]
    cycles: Distinct[Few]
    most_steps: Count
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
