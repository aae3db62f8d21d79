"""The stage: what each peculiarity of the published code does to the metric values, one at a time, and together.

None is on anywhere else. Some are switches of a head (`HeadSpec`), some of training (hardly any, positives that weigh
no more than others), some of the protocol: the checkpoint, the rate and the threshold chosen on the test sets, a
threshold of 0.5, and test sets of a single image.

The published table has attention twice as good as averaging. What the heads' ratio is with each switch says which
peculiarities could have made that: a possible cause, and no proof of what the authors did.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline.catalogue.labelled_sets import Sets, read_sets
from pipeline.core import handover
from pipeline.core.failure import keeping
from pipeline.core.lock import hold
from pipeline.core.progress import Progress
from pipeline.embeddings.store import Embeddings
from pipeline.heads.registry import parse
from pipeline.heads.spec import HeadSpec
from pipeline.metrics.at_k import PUBLISHED_THRESHOLD, at_k
from pipeline.metrics.bootstrap import estimate, sample_weights
from pipeline.metrics.selection import micro_of_seeds
from pipeline.project import Project
from pipeline.sets.building import of_one_image
from pipeline.training import dataset
from pipeline.training.dataset import Dataset
from pipeline.training.fit import Data
from pipeline.training.kept_runs import KeptRuns
from pipeline.training.tuning import Tuned, tune, within_most_steps

if TYPE_CHECKING:
    from pipeline.settings.sections import TrainSettings
    from pipeline.settings.settings import Settings

K, THRESHOLD = 10, PUBLISHED_THRESHOLD  # of the published headline
RATIOS = ("published_f1", "f1")
RAW = "vectors not standardised"
HARDLY = {"learning_rates": [3e-4], "cycles": [3]}


@dataclass(frozen=True)
class Switch:
    """One peculiarity.

    Attributes:
        name: in words.
        spec: keys of the head's spec that it changes.
        train: keys of the settings of training that it changes.
        threshold: of the probability; None: the one that validation prefers.
        on_test: whether validation's choices are made on the test sets.
        one_image: whether test sets have one image.
    """

    name: str
    spec: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    threshold: float | None = None
    on_test: bool = False
    one_image: bool = False


def switches(spec: HeadSpec, max_images: int, *, longest: int) -> list[Switch]:
    """The peculiarities that a head can have: none first, then one at a time, then several, all together last.

    Args:
        spec: the head.
        max_images: of a set.
        longest: cycle of the learning rate, in epochs.

    >>> from pipeline.heads.presets import preset
    >>> [switch.name for switch in switches(preset("average"), max_images=8, longest=30)][:3]
    ['none', 'padding takes part', 'vectors not standardised']
    """
    parts: dict[str, dict] = {"padding takes part": {"mask_padding": False}, RAW: {"standardised": False}}
    if hasattr(spec, "divide_by"):
        parts[f"the sum divided by {max_images}"] = {"divide_by": max_images}
    if hasattr(spec, "scale_scores"):
        parts["scores not scaled"] = {"scale_scores": False}
    if spec.gate == "context":
        parts["tanh in the gate"] = {"gate_activation": "tanh"}
    code = {key: value for part in parts.values() for key, value in part.items()}
    even = {"positive_weight": 1.0}
    return [
        Switch("none"),
        *(Switch(name, part) for name, part in parts.items()),
        Switch("positives weigh 1", train=even),
        Switch("hardly trained", train=HARDLY),
        Switch(f"trained for {longest} epochs", train={"cycles": [longest]}),
        Switch("threshold of 0.5", threshold=THRESHOLD),
        Switch("choices made on the test sets", on_test=True),
        Switch("test sets of one image", one_image=True),
        Switch("hardly trained, positives weigh 1", train={**HARDLY, **even}),
        Switch("the same, on vectors not standardised", parts[RAW], {**HARDLY, **even}),
        Switch("the same, with all of the code's arithmetic", code, {**HARDLY, **even}),
        Switch(f"that arithmetic, trained for {longest} epochs", code, {**even, "cycles": [longest]}),
        Switch("all of these", code, {**HARDLY, **even}, THRESHOLD, on_test=True, one_image=True),
    ]


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


def ablate(project: Project, settings: "Settings") -> str:
    """Trains and scores heads with each of their switches, the first seed of each, and writes the values as JSON.

    Of each metric and switch: `value` and its interval; `difference` from the head without switches, and its interval,
    where both have the same test sets. Of each switch that all heads can have: how many times as high as the first
    head's F1 at 10 another's is, by both definitions. Tuning tries the shortest cycle alone, where no switch says more.

    Returns:
        How much was compared, and where it is, for people.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged.
    """
    backbone, kept = settings.ablation.backbone, KeptRuns(project.unfinished("ablate"))
    with hold(project.ablation), keeping(kept.said):
        sets = read_sets(project.sets, project.labels)
        splits = Splits.load(project, Embeddings(project.store(backbone)), sets, settings=settings)
        specs = {head: settings.head(head) for head in settings.ablation.heads}
        budget = within_most_steps(settings.train, sets=len(splits.train))
        most, longest = settings.sets.max_images, budget.cycles[-1]
        todo = [(head, switch) for head, spec in specs.items() for switch in switches(spec, most, longest=longest)]
        trials = {
            head: Trials(spec, splits, budget, resamples=settings.evaluate.resamples, kept=kept)
            for head, spec in specs.items()
        }
        rows = []
        with Progress("ablate", len(todo), "trainings") as progress:
            for head, switch in todo:
                rows.append({"head": head, "switch": switch.name, **trials[head].measure(switch)})
                progress.add()
        content = {"sets_digest": sets.digest, "backbone": backbone, "rows": rows, "ratios": ratios(trials)}
        handover.write_record(project.ablation, content)
        kept.clear()
    return f"ablate: {len(todo)} peculiarities of {len(specs)} heads on {backbone}: {project.ablation}"


class Trials:
    """One head, trained and tested with one switch after the other, the first without any.

    Attributes:
        values: of each switch by its name, and of each metric: float64 [1, 1 + t], of all test users, then of t
            resamples.
    """

    def __init__(self, spec: HeadSpec, splits: Splits, budget: "TrainSettings", *, resamples: int, kept: KeptRuns):
        self.values: dict[str, dict[str, np.ndarray]] = {}
        self._spec, self._splits, self._resamples = spec, splits, resamples
        quick = {"seeds": budget.seeds[:1], "cycles": budget.cycles[:1]}
        self._settings = budget.model_copy(update=quick)
        self._kept = kept
        self._trained: dict[tuple, Tuned] = {}  # what is only tested otherwise is not trained again

    def measure(self, switch: Switch) -> dict[str, dict]:
        """The test values with a switch; where the sets are the same, also how far they are from those without."""
        test = self._splits.one_image if switch.one_image else self._splits.test
        values = self.values[switch.name] = self._values(self._tuned(switch, test), switch, test)
        plain = {} if switch.one_image else next(iter(self.values.values()))  # other sets have other users, in part
        return {name: _entry(values[name], plain.get(name)) for name in values}

    def _tuned(self, switch: Switch, test: Dataset) -> Tuned:
        """The head as it is trained with a switch."""
        chosen_on = test if switch.on_test else self._splits.validation
        key = (str(switch.spec), str(switch.train), id(chosen_on))
        if key not in self._trained:
            spec = parse({**self._spec.model_dump(), **switch.spec})
            settings = self._settings.model_copy(update=switch.train)
            data = Data(self._splits.train, chosen_on)
            self._trained[key] = tune(spec, data, settings, name=switch.name, kept=self._kept)
        return self._trained[key]

    def _values(self, tuned: Tuned, switch: Switch, test: Dataset) -> dict[str, np.ndarray]:
        """Of all test users, then of t resamples."""
        [run], truth = tuned.kept, test.truth()
        scores = dataset.scores(run.head, test)
        weights = sample_weights(len(test), self._resamples)
        threshold = run.threshold if switch.threshold is None else switch.threshold
        values = micro_of_seeds([scores], truth, [threshold], weights=weights)
        labelled = truth.any(1)
        of_sets = at_k(scores[labelled], truth[labelled], K)
        for name in RATIOS:
            values[name] = (weights[:, labelled] @ of_sets[name] / weights[:, labelled].sum(1))[None]
        return values


def ratios(trials: dict[str, Trials]) -> list[dict]:
    """How many times as high as the first head's the other heads' F1 at k is, with its interval, by switch."""
    (first, reference), *others = trials.items()
    rows = []
    for head, other in others:
        for switch in [name for name in reference.values if name in other.values]:
            pairs = {name: (other.values[switch][name], reference.values[switch][name]) for name in RATIOS}
            if all((values > 0).all() for pair in pairs.values() for values in pair):
                estimates = {name: estimate(np.log(a), np.log(b)) for name, (a, b) in pairs.items()}
                rounded = {name: _rounded(np.exp([e.value, e.low, e.high])) for name, e in estimates.items()}
                rows.append({"switch": switch, "head": head, "against": first, **rounded})
    return rows


def _entry(values: np.ndarray, plain: np.ndarray | None) -> dict[str, list[float]]:
    """A value with its interval and, where the test sets are the same, how far it is from the one without switches."""
    estimates = {"value": estimate(values)}
    if plain is not None:
        estimates["difference"] = estimate(values, plain)
    return {name: _rounded(np.array([e.value, e.low, e.high])) for name, e in estimates.items()}


def _rounded(numbers: np.ndarray) -> list[float]:
    return [round(float(number), 6) for number in numbers]
