"""The stage: what each peculiarity of the published code does to the metric values, one at a time, and all together.

None is on anywhere else. Some are switches of a head (`HeadSpec`), two are of the protocol: the checkpoint, the rate
and the threshold chosen on the test sets, and test sets of a single image.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline.catalogue.labelled_sets import Sets, read_sets
from pipeline.core import handover
from pipeline.core.lock import hold
from pipeline.core.progress import Progress
from pipeline.embeddings.store import Embeddings
from pipeline.heads.registry import parse
from pipeline.heads.spec import HeadSpec
from pipeline.metrics.bootstrap import estimate, sample_weights
from pipeline.metrics.selection import micro_of_seeds
from pipeline.project import Project
from pipeline.sets.building import of_one_image
from pipeline.training import dataset
from pipeline.training.dataset import Dataset
from pipeline.training.tuning import Data, Tuned, tune

if TYPE_CHECKING:
    from pipeline.settings import Settings

METRICS = ("micro_f1", "micro_ap")


@dataclass(frozen=True)
class Switch:
    """One peculiarity.

    Attributes:
        name: in words.
        spec: keys of the head's spec that it changes.
        on_test: whether validation's choices are made on the test sets.
        one_image: whether test sets have one image.
    """

    name: str
    spec: dict = field(default_factory=dict)
    on_test: bool = False
    one_image: bool = False


def switches(spec: HeadSpec, max_images: int) -> list[Switch]:
    """The peculiarities that a head can have, none first, all together last.

    >>> from pipeline.heads.presets import preset
    >>> [switch.name for switch in switches(preset("average"), max_images=8)][:4]
    ['none', 'padding takes part', 'vectors not standardised', 'the sum divided by 8']
    """
    single = [
        Switch("padding takes part", {"mask_padding": False}),
        Switch("vectors not standardised", {"standardised": False}),
    ]
    if hasattr(spec, "divide_by"):
        single.append(Switch(f"the sum divided by {max_images}", {"divide_by": max_images}))
    if hasattr(spec, "scale_scores"):
        single.append(Switch("scores not scaled", {"scale_scores": False}))
    if spec.gate == "context":
        single.append(Switch("tanh in the gate", {"gate_activation": "tanh"}))
    single += [
        Switch("choices made on the test sets", on_test=True),
        Switch("test sets of one image", one_image=True),
    ]
    every = {key: value for switch in single for key, value in switch.spec.items()}
    return [Switch("none"), *single, Switch("all of these", every, on_test=True, one_image=True)]


@dataclass(frozen=True)
class Splits:
    """What heads are trained and tested on.

    Attributes:
        train: the training sets.
        validation: the validation sets.
        test: the test sets.
        one_image: the test users' sets of one image.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    one_image: Dataset

    @classmethod
    def load(cls, project: Project, store: Embeddings, sets: Sets, *, settings: "Settings") -> "Splits":
        """Reads them. Raises as `dataset.load` does."""
        singles = of_one_image(project, sets, settings.sets).filter(pl.col("split") == "test")
        most = settings.sets.max_images  # padded as other sets are, so that padding takes part where it does
        one_image = dataset.gather(singles, len(sets.labels), store, name="one image", least_images=most)
        splits = {split: dataset.load(sets, store, split) for split in ("train", "validation", "test")}
        return cls(**splits, one_image=one_image)


def ablate(project: Project, settings: "Settings") -> None:
    """Trains and scores heads with each of their switches, the first seed of each, and writes the values as JSON.

    Of each metric and switch: `value` and its interval; `difference` from the head without switches, and its interval,
    where both have the same test sets.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged.
    """
    backbone = settings.ablation.backbone
    with hold(project.ablation):
        sets = read_sets(project.sets, project.labels)
        splits = Splits.load(project, Embeddings(project.store(backbone)), sets, settings=settings)
        specs = {head: settings.head(head) for head in settings.ablation.heads}
        todo = [(head, switch) for head, spec in specs.items() for switch in switches(spec, settings.sets.max_images)]
        trials = {head: Trials(spec, splits, settings) for head, spec in specs.items()}
        rows = []
        with Progress("ablate", len(todo), "heads") as progress:
            for head, switch in todo:
                rows.append({"head": head, "switch": switch.name, **trials[head].measure(switch)})
                progress.add()
        content = {"sets_digest": sets.digest, "backbone": backbone, "rows": rows}
        handover.write_record(project.ablation, content)


class Trials:
    """One head, trained and tested with one switch after the other, the first without any."""

    def __init__(self, spec: HeadSpec, splits: Splits, settings: "Settings"):
        self._spec, self._splits, self._resamples = spec, splits, settings.evaluate.resamples
        self._settings = settings.train.model_copy(update={"seeds": settings.train.seeds[:1]})
        self._trained: dict[tuple, Tuned] = {}  # what is only tested otherwise is not trained again
        self._plain: dict[str, np.ndarray] = {}

    def measure(self, switch: Switch) -> dict[str, dict]:
        """The test values with a switch; where the sets are the same, also how far they are from those without."""
        test = self._splits.one_image if switch.one_image else self._splits.test
        values = self._values(self._tuned(switch, test), test)
        self._plain = self._plain or values
        paired = not switch.one_image  # other sets have other users, at least in part
        return {name: _entry(values[name], self._plain[name] if paired else None) for name in METRICS}

    def _tuned(self, switch: Switch, test: Dataset) -> Tuned:
        """The head as it is trained with a switch."""
        chosen_on = test if switch.on_test else self._splits.validation
        key = (str(switch.spec), id(chosen_on))
        if key not in self._trained:
            spec = parse({**self._spec.model_dump(), **switch.spec})
            self._trained[key] = tune(spec, Data(self._splits.train, chosen_on), self._settings)
        return self._trained[key]

    def _values(self, tuned: Tuned, test: Dataset) -> dict[str, np.ndarray]:
        """The values of each metric: float64 [1, 1 + t], of all test users, then of t resamples."""
        scores = [dataset.scores(run.head, test) for run in tuned.kept]
        thresholds = [run.threshold for run in tuned.kept]
        weights = sample_weights(len(test), self._resamples)
        return micro_of_seeds(scores, test.truth(), thresholds, weights=weights)


def _entry(values: np.ndarray, plain: np.ndarray | None) -> dict[str, list[float]]:
    """A value with its interval and, where the test sets are the same, how far it is from the one without switches."""
    estimates = {"value": estimate(values)}
    if plain is not None:
        estimates["difference"] = estimate(values, plain)
    return {name: [round(number, 6) for number in (e.value, e.low, e.high)] for name, e in estimates.items()}
