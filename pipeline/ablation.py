"""What each peculiarity of the published code does to the figures, switched on one at a time, and all together.

None is on anywhere else. Some are switches of a head (`HeadSpec`), two are of the protocol: the checkpoint, the rate
and the threshold chosen on the test sets, and test sets of a single image.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline import batches, catalogue, files, sets, statistics, summary
from pipeline.batches import SetData
from pipeline.embeddings import Embeddings
from pipeline.heads import HeadSpec, resolve
from pipeline.progress import Progress
from pipeline.tuning import Tuned, tune

if TYPE_CHECKING:
    from pipeline.params import EvaluateSettings, SetSettings, TrainSettings

FIGURES = ("micro_f1", "micro_ap")


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
    """The peculiarities that a head can have, none first, all together last."""
    single = [
        Switch("padding takes part", {"mask_padding": False}),
        Switch("vectors not standardised", {"standardised": False}),
    ]
    if spec.pool == "mean":
        single.append(Switch(f"the sum divided by {max_images}", {"divide_by": max_images}))
    else:
        single.append(Switch("scores not scaled", {"scale_scores": False}))
    if spec.gate == "context":
        single.append(Switch("tanh in the gate", {"gate_activation": "tanh"}))
    single += [
        Switch("choices made on the test sets", on_test=True),
        Switch("test sets of one image", one_image=True),
    ]
    every = {key: value for switch in single for key, value in switch.spec.items()}
    return [Switch("none"), *single, Switch("all of these", every, on_test=True, one_image=True)]


def ablate(
    specs: dict[str, HeadSpec],
    store_path: Path,
    catalogue_path: Path,
    sets_path: Path,
    labels_path: Path,
    path: Path,
    set_settings: "SetSettings",
    train_settings: "TrainSettings",
    evaluate_settings: "EvaluateSettings",
) -> None:
    """Trains and scores heads with each of their switches, the first seed of each, and writes the figures as JSON.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged.
    """
    store = Embeddings(store_path)
    data, validation, test = (
        batches.load(sets_path, labels_path, store, split) for split in ("train", "validation", "test")
    )
    names = catalogue.read_labels(labels_path)[0]
    singles = sets.of_one_image(catalogue_path, names, set_settings).filter(pl.col("split") == "test")
    one_image = batches.gather(singles, len(names), store, "one image", width=set_settings.max_images)
    train_settings = train_settings.model_copy(update={"seeds": train_settings.seeds[:1]})
    todo = [(head, spec, switch) for head, spec in specs.items() for switch in switches(spec, set_settings.max_images)]
    rows, plain, trained = [], {}, {}
    with Progress("ablate", len(todo), "heads") as progress:
        for head, spec, switch in todo:
            shown = one_image if switch.one_image else test
            chosen_on = shown if switch.on_test else validation
            changed = resolve({**spec.model_dump(), **switch.spec})
            training = (head, str(switch.spec), id(chosen_on))  # what only tests otherwise is not trained again
            if training not in trained:
                trained[training] = tune(changed, data, chosen_on, train_settings)
            found = _figures(trained[training], shown, evaluate_settings)
            plain = plain if switch.spec or switch.on_test or switch.one_image else found
            paired = not switch.one_image  # other sets have other users, at least in part
            figures = {name: _entry(own, plain[name] if paired else None) for name, own in found.items()}
            rows.append({"head": head, "switch": switch.name, **figures})
            progress.add()
    files.write_json(path, {"backbone": store_path.stem, "rows": rows})


def _entry(values: np.ndarray, plain: np.ndarray | None) -> dict[str, list[float]]:
    """A figure with its interval and, where the test sets are the same, how far it is from the one without switches."""
    estimates = {"figure": statistics.estimate(values)}
    if plain is not None:
        estimates["difference"] = statistics.estimate(values, plain)
    return {name: [round(number, 6) for number in (own.value, own.low, own.high)] for name, own in estimates.items()}


def _figures(tuned: Tuned, test: SetData, settings: "EvaluateSettings") -> dict[str, np.ndarray]:
    """The test figures of one head with one switch: float64 [seeds, 1 + resamples] each."""
    truth = test.truth()
    weights = summary.samples_of(len(truth), settings)
    of_seeds = [
        summary.measure(FIGURES, batches.scores(fit.head, test), truth, fit.threshold, weights) for fit in tuned.fits
    ]
    return {name: np.stack([own[name] for own in of_seeds]) for name in FIGURES}
