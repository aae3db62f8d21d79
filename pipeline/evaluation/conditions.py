"""The stage: which head wins where a set's labels are not just what its photos show; on simulated users.

A pool of instance scores assumes that a label is there as soon as one image shows it, and that images speak for
themselves. Each case breaks that in its own way (`sets.simulation`). The images, and what each shows, are the
catalogue's; the users are made up.
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline.catalogue.labelled_sets import read_image_labels, read_sets
from pipeline.core import handover
from pipeline.core.failure import keeping
from pipeline.core.lock import hold
from pipeline.core.progress import Progress
from pipeline.embeddings.store import Embeddings
from pipeline.metrics.bootstrap import Estimate, estimate, sample_weights
from pipeline.metrics.selection import micro_of_seeds
from pipeline.project import Project
from pipeline.sets.simulation import Case, simulate
from pipeline.training import dataset
from pipeline.training.dataset import Dataset
from pipeline.training.fit import Data
from pipeline.training.kept_runs import KeptRuns
from pipeline.training.tuning import tune

if TYPE_CHECKING:
    from pipeline.heads.spec import HeadSpec
    from pipeline.settings.sections import TrainSettings
    from pipeline.settings.settings import Settings

METRICS = ("micro_ap", "micro_f1")
Samples = dict[str, np.ndarray]  # of each metric: float64 [seeds, 1 + t]


def compare_under_conditions(project: Project, settings: "Settings") -> str:
    """Trains heads on the simulated users of each case, and writes their test values as JSON.

    Of each case and head: the metric values with their intervals, and validation's. Of each case: the head that
    validation prefers, the one that is best on test, and how far the first is from each other head, paired.

    Returns:
        Which head did best in each case, and where the values are, for people.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged, or a split is empty.
    """
    chosen, kept = settings.conditions, KeptRuns(project.unfinished("conditions"))
    with hold(project.conditions), keeping(kept.said):
        sets = read_sets(project.sets, project.labels)
        shown = read_image_labels(project.image_labels, project.labels)
        specs = {name: settings.head(name) for name in chosen.heads}
        cases = []
        if specs:
            store = Embeddings(project.store(chosen.backbone))
            store.require_images(sets.images_digest)
            with Progress("conditions", len(chosen.cases), "cases") as progress:
                for name, case in chosen.cases.items():
                    drawn = Case(**case.model_dump())
                    frame = simulate(shown, len(sets.labels), drawn, users=chosen.users, seed=chosen.seed)
                    data = _gather(frame, len(sets.labels), store, name=name)
                    cases.append({"case": name, **_compare(specs, data, settings, kept=kept)})
                    progress.add()
        content = {"sets_digest": sets.digest, "backbone": chosen.backbone, "users": chosen.users, "cases": cases}
        handover.write_record(project.conditions, content)
        kept.clear()
    lines = [f"conditions: {case['case']}: best on test users is {case['best']}" for case in cases]
    return "\n".join([*lines, f"conditions: {len(cases) or 'no'} cases simulated: {project.conditions}"])


def _gather(frame: pl.DataFrame, classes: int, store: Embeddings, *, name: str) -> dict[str, Dataset]:
    """The splits of simulated sets, with their vectors."""
    splits = ("train", "validation", "test")
    return {
        split: dataset.gather(frame.filter(split=split), classes, store, name=f"{name}, {split}") for split in splits
    }


def _compare(specs: "dict[str, HeadSpec]", data: dict[str, Dataset], settings: "Settings", *, kept: KeptRuns) -> dict:
    """What the heads do in one case."""
    weights = sample_weights(len(data["test"]), settings.evaluate.resamples)
    tried = {name: _try(spec, data, weights, settings=settings.train, kept=kept) for name, spec in specs.items()}
    samples = {name: values for name, (_, values) in tried.items()}
    on_validation = {name: validation for name, (validation, _) in tried.items()}
    on_test = {name: float(values["micro_ap"][:, 0].mean()) for name, values in samples.items()}
    preferred, best = (max(of, key=of.__getitem__) for of in (on_validation, on_test))
    return {
        "preferred": preferred,
        "best": best,
        "heads": {
            name: {
                "validation": round(on_validation[name], 6),
                **{metric: _rounded(estimate(values[metric])) for metric in METRICS},
                "behind": _rounded(estimate(samples[preferred]["micro_ap"], values["micro_ap"])),
            }
            for name, values in samples.items()
        },
    }


def _try(
    spec: "HeadSpec", data: dict[str, Dataset], weights: np.ndarray, *, settings: "TrainSettings", kept: KeptRuns
) -> tuple[float, Samples]:
    """Validation's micro average precision, mean over seeds, and the test values."""
    tuned, test = tune(spec, Data(data["train"], data["validation"]), settings, kept=kept), data["test"]
    scores = [dataset.scores(run.head, test) for run in tuned.kept]
    thresholds = [run.threshold for run in tuned.kept]
    validation = float(np.mean([run.micro_ap for run in tuned.kept]))
    return validation, micro_of_seeds(scores, test.truth(), thresholds, weights=weights)


def _rounded(estimated: Estimate) -> list[float]:
    return [round(number, 6) for number in (estimated.value, estimated.low, estimated.high)]
