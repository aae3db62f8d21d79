"""The stage: fits, chooses, evaluates; and merging, which needs none of these again."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
import polars as pl
import torch

from pipeline import adapters, batches, catalogue, files, metrics, runs, summary
from pipeline.adapters import Adapter, Fit
from pipeline.embeddings import Embeddings
from pipeline.errors import StageError, StoreError
from pipeline.heads.spec import obstacle
from pipeline.progress import Progress
from pipeline.swap import pairs, retention
from pipeline.swap.pairs import Fitted, Stores
from pipeline.swap.retention import Side, Test, Trained

if TYPE_CHECKING:
    from pipeline.params import EvaluateSettings

# Least share of what a head has above the floor on validation users, for the best head with ridge. EfficientNet-Lites
# on real photos keep 0.85 with 64 pairs; random weights 0.49 with 2,932.
LEAST_KEPT = 2 / 3


def swap(
    old: Side,
    new: Side,
    sets_path: Path,
    labels_path: Path,
    adapter_path: Path,
    figures_path: Path,
    settings: "EvaluateSettings",
) -> None:
    """Fits adapters from a new backbone to an old one, and scores the old one's heads on what they give.

    Writes the adapter that validation prefers, and the figures (JSON).

    Raises:
        StageError, StoreError: when an earlier stage's result is missing, damaged or of another catalogue; when there
            are too few pairs; when the new backbone's vectors say too little of the old one's.
    """
    torch.set_num_threads(1)  # heads are scored side by side, each in one thread
    labels, digest = catalogue.read_labels(labels_path)
    stores = _open(old, new, digest)
    heads, retrained = old.trained(stores.old, labels), new.trained(stores.new, labels)
    if not heads:
        raise StageError(f"no head is trained on {old.alias}: run visagg train {old.alias} HEAD, or dvc repro")
    sets = stores.readable(catalogue.read_table(sets_path))
    frequency = _frequency(sets, len(labels))
    rows = stores.training_rows(sets)

    everything = pairs.fit(stores, rows, list(adapters.KINDS), f"adapters {new.alias} to {old.alias}")
    found = [_adapter(stores, fit, len(rows)) for fit in everything.fits.values()]
    validation = _test(stores, sets, "validation", frequency, settings)
    best = _choose(found, heads, validation, f"{new.alias} cannot stand in for {old.alias}")
    fitted = [(len(rows), everything)]
    for size in (size for size in pairs.SIZES if size < len(rows)):
        some = pairs.fit(stores, rows[:size], [best.kind], f"adapter from {size} pairs", everything.whole)
        fitted.append((size, some))
        found.append(_adapter(stores, fitted[-1][1].fits[best.kind], size))

    test = _test(stores, sets, "test", frequency, settings)
    with Progress(f"swap {old.alias} {new.alias}", len(heads), "heads") as progress:
        compared = _compare(heads, retrained, found, test, progress)
    unseen = np.setdiff1d(pairs.shown(sets, "test"), rows)
    about_images, fits = _closeness(stores, fitted, unseen, settings)
    adapters.save(adapter_path, best)
    files.write_json(
        figures_path,
        {
            "old": old.alias,
            "new": new.alias,
            "k": test.k,
            "test_users": len(test.old),
            "backbone_parameters": {old.alias: stores.old.parameters, new.alias: stores.new.parameters},
            "images": len(stores.new),
            "training_images": len(rows),
            "best": best.kind,
            "adapter_parameters": best.parameters(),
            "compared_on": about_images,
            "adapters": fits,
            "refused": everything.refused,
            "floor": {name: retention.entry(values) for name, values in test.floor.items()},
            "heads": compared,
        },
    )


def merge(old: Side, new: Side, adapter_path: Path, folder: Callable[[str], Path]) -> dict[str, str | None]:
    """Merges the saved adapter into every trained head that can take it, and saves the merged heads.

    A merged head reads the new backbone's vectors; its thresholds are those that were chosen with the old one's.

    Args:
        old: the heads' backbone.
        new: the other.
        adapter_path: what `swap` wrote.
        folder: where the merged head of a name goes.

    Returns:
        For each trained head, why it could not be merged; None where it was.

    Raises:
        StageError, StoreError: when there is no adapter, or it was fitted for other vectors, or no head is trained.
    """
    old_store, new_store = Embeddings(old.store), Embeddings(new.store)
    adapter = adapters.load(adapter_path, new_store.identity, old_store.identity)
    matrix, offset = torch.from_numpy(adapter.matrix), torch.from_numpy(adapter.offset)
    answers: dict[str, str | None] = {}
    for name, path in sorted(old.heads.items()):
        if not path.is_dir():
            continue
        trained = Trained.load(path, old_store, runs.load(path).labels)
        answers[name] = obstacle(trained.spec)
        if answers[name] is None:
            merged = [head.fold(matrix, offset) for head in trained.heads]
            run = runs.merged(trained.run, merged[0].spec, new_store.width, new_store.identity)
            runs.save(folder(name), run, [head.state_dict() for head in merged], runs.load_history(path))
    if not answers:
        raise StageError(f"no head is trained on {old.alias}: run visagg train {old.alias} HEAD, or dvc repro")
    return answers


def _open(old: Side, new: Side, digest: str) -> Stores:
    """Both stores, if they hold the images of the sets."""
    stores = Stores(Embeddings(old.store), Embeddings(new.store))
    for store in (stores.old, stores.new):
        if store.images_digest() != digest:
            raise StoreError(f"{store.path} holds other images than the sets: run visagg embed {store.path.stem} again")
    return stores


def _adapter(stores: Stores, fit: Fit, count: int) -> Adapter:
    matrix, offset = (np.ascontiguousarray(part, np.float32) for part in fit.final)
    return Adapter(fit.kind, matrix, offset, fit.options, count, stores.new.identity, stores.old.identity)


def _frequency(sets: pl.DataFrame, labels: int) -> np.ndarray:
    """Share of training sets that have each label: float64 [c]. What popularity gives to everybody."""
    training = sets.filter(pl.col("split") == "train")
    return np.bincount(training["labels"].explode().to_numpy(), minlength=labels) / len(training)


def _test(stores: Stores, sets: pl.DataFrame, split: str, frequency: np.ndarray, settings: "EvaluateSettings") -> Test:
    """One split's sets with both backbones' vectors; the floor's threshold is from validation, as a head's is."""
    own = sets.filter(pl.col("split") == split)
    one, other = (
        batches.gather(own, len(frequency), store, f"the {split} split") for store in (stores.old, stores.new)
    )
    samples = summary.samples_of(len(one), settings) if split == "test" else np.ones((1, len(one)), np.float32)
    known = _truth(sets.filter(pl.col("split") == "validation"), len(frequency))
    threshold = metrics.best_threshold(np.tile(frequency, (len(known), 1)), known)
    floor = retention.figures([np.tile(frequency, (len(one), 1))], one.truth(), [threshold], samples)
    return Test(one, other, floor, samples, settings.ks[0])


def _truth(sets: pl.DataFrame, labels: int) -> np.ndarray:
    """Labels of some sets as bool [n, c]."""
    return np.stack([np.isin(np.arange(labels), own) for own in sets["labels"].to_list()])


def _choose(found: list[Adapter], heads: dict[str, Trained], validation: Test, complaint: str) -> Adapter:
    """The adapter with which the heads do best on validation, by mean micro average precision; the first is ridge.

    Raises:
        StageError: when ridge leaves every head near the floor; lighter kinds learn known images by heart.
    """
    truth, once, floor = validation.old.truth(), validation.samples, validation.floor["micro_ap"].mean()

    def quality(head: Trained, data: batches.SetData) -> float:
        return float(retention.figures(head.scores(data), truth, head.thresholds, once)["micro_ap"].mean())

    data = [validation.old, *(retention.adapted(validation.new, adapter) for adapter in found)]
    tasks = (joblib.delayed(quality)(head, own) for own in data for head in heads.values())
    stay, *others = np.array(list(_side_by_side(tasks))).reshape(len(data), len(heads))
    kept = float(((others[0] - floor) / np.maximum(stay - floor, 1e-9)).max())
    if kept < LEAST_KEPT:
        raise StageError(
            f"{complaint}: adapted by {found[0].kind} from {found[0].pairs} pairs, its heads keep at most "
            f"{max(kept, 0):.0%} of what they have above popularity on validation users, and {LEAST_KEPT:.0%} is the "
            "least; are its weights trained, and are there more images to embed?"
        )
    return found[int(np.argmax([own.mean() for own in others]))]


def _compare(
    heads: dict[str, Trained], retrained: dict[str, Trained], found: list[Adapter], test: Test, progress: Progress
) -> dict[str, dict]:
    """What each head keeps, by name in their order."""
    names = sorted(heads)
    tasks = (joblib.delayed(retention.compare)(heads[name], retrained.get(name), found, test) for name in names)
    compared = {}
    for name, result in zip(names, _side_by_side(tasks)):
        compared[name] = result
        progress.add()
    return compared


def _closeness(
    stores: Stores, fitted: list[tuple[int, Fitted]], unseen: np.ndarray, settings: "EvaluateSettings"
) -> tuple[dict, list[dict]]:
    """What the held-out images are, and how close each fitted map comes on them."""
    crossed = len(unseen) < pairs.LEAST_PAIRS
    reference = fitted[0][1].whole
    rows = []
    for size, lot in fitted:
        images = np.sort((lot.held if crossed else unseen)[: pairs.MOST_COMPARED])
        samples = summary.samples_of(len(images), settings)
        for fit in lot.fits.values():
            close = pairs.closeness(stores, images, fit.trial if crossed else fit.final, reference)
            error, total, cosine = (retention.over_sets(close[name], samples) for name in ("error", "total", "cosine"))
            rows.append(
                {
                    "adapter": fit.kind,
                    "pairs": size,
                    "images": len(images),
                    **fit.options,
                    "cosine": retention.entry(cosine),
                    "explained_variance": retention.entry(1 - error / total),
                }
            )
    return ("the held-out tenth of the pairs" if crossed else "test users' images that no training user has"), rows


def _side_by_side(tasks):
    """Results of joblib tasks in their order, from as many threads as there are cores."""
    return joblib.Parallel(joblib.cpu_count(), backend="threading", return_as="generator")(tasks)
