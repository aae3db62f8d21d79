"""The stage: scores the test split, once a head."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl
import torch

from pipeline.catalogue.labelled_sets import Sets, read_sets
from pipeline.core.errors import StageError
from pipeline.core.failure import BEGINS_ANEW, keeping
from pipeline.core.files import write_aside
from pipeline.core.lock import hold
from pipeline.core.processes import in_processes
from pipeline.core.progress import Progress
from pipeline.embeddings.store import Embeddings
from pipeline.evaluation import results
from pipeline.evaluation.overview import overview
from pipeline.metrics.bootstrap import measuring_processes
from pipeline.metrics.measure import Predictions, Protocol, Segment, main_values, measure_seed, segments
from pipeline.project import Project
from pipeline.training import checkpoint, dataset
from pipeline.training.checkpoint import TrainedHead
from pipeline.training.dataset import Dataset

if TYPE_CHECKING:
    from pipeline.heads.classifier import SetClassifier
    from pipeline.settings.sections import EvaluateSettings
    from pipeline.settings.settings import Settings


def evaluate(
    project: Project, backbone: str, heads: Sequence[str], settings: "Settings", *, as_json: bool = False
) -> str:
    """Writes the test results of some heads that were trained on one backbone's vectors.

    Results of a head that is not compared go where no stage of the graph looks.

    Args:
        project: where everything lies.
        backbone: whose vectors.
        heads: which heads; none: all that are compared.
        settings: of the heads, and which k and how many resamples.
        as_json: whether the answer is for programs.

    Returns:
        The main metric values and where the results went, as a table for people, or as JSON.

    Raises:
        StageError, StoreError: when an earlier stage's result is missing, or belongs to another.
    """
    heads = list(dict.fromkeys(heads or settings.compare.heads))  # each once
    compared = {head: head in settings.compare.heads for head in heads}
    folders = {head: project.results(backbone, head, compared=compared[head]) for head in heads}
    outs = [project.all_results(backbone) if compared[head] else folders[head] for head in heads]
    with hold(*outs), keeping(BEGINS_ANEW):
        trained = {}
        for head in heads:
            folder = project.checkpoint(backbone, head, compared=compared[head])
            if not folder.is_dir():
                raise StageError(f"{folder} holds no trained head: run visagg train {backbone} {head}, or dvc repro")
            trained[head] = checkpoint.load(folder)
        store = Embeddings(project.store(backbone))
        test = TestSplit.load(project, store, settings.evaluate)
        if heads == settings.compare.heads:  # all at once, so that never some are of this run and some of another
            with write_aside(project.all_results(backbone)) as aside:
                aside.mkdir()
                values = score(trained, store, test, folders={head: aside / head for head in heads})
        else:
            values = score(trained, store, test, folders=folders)
    return overview([(f"{backbone} {head}", values[head], folders[head]) for head in heads], as_json=as_json)


@dataclass(frozen=True)
class TestSplit:
    """The test sets with one backbone's vectors, and what is measured on them.

    Attributes:
        sets: all sets, of which these are a part.
        data: the test sets.
        protocol: what is measured.
    """

    sets: Sets
    data: Dataset
    protocol: Protocol

    @classmethod
    def load(cls, project: Project, store: Embeddings, settings: "EvaluateSettings") -> Self:
        """Reads it. Raises as `dataset.load` does."""
        sets = read_sets(project.sets, project.labels)
        data = dataset.load(sets, store, "test")
        parts = _segments(sets.split("train"), data)
        protocol = Protocol(labels=sets.labels, segments=parts, ks=settings.ks, resamples=settings.resamples)
        return cls(sets, data, protocol)


def score(
    trained: Mapping[str, TrainedHead], store: Embeddings, test: TestSplit, *, folders: Mapping[str, Path]
) -> dict[str, dict[str, float]]:
    """Writes the test results of some heads.

    Args:
        trained: heads by name.
        store: the vectors that they read.
        test: the test sets with these vectors.
        folders: where each one's results go.

    Returns:
        The main metric values, by name.

    Raises:
        StageError, StoreError: when a head belongs to other vectors or labels.
    """
    for head in trained.values():
        head.require(store, test.sets)
    runs, cells = sum(len(head.seeds) for head in trained.values()), test.data.y.numel()
    jobs = measuring_processes(cells, runs, resamples=test.protocol.resamples)
    values = {}
    with (
        closing(in_processes(measure_seed, _tasks(trained, test), jobs=jobs, window=jobs + 1)) as measured,
        Progress("evaluate", len(trained), "heads") as progress,
    ):
        for name, head in trained.items():
            parts = [next(measured) for _ in head.seeds]
            values[name] = _write(head, parts, test, folder=folders[name])
            progress.add()
    return values


def _tasks(trained: Mapping[str, TrainedHead], test: TestSplit) -> Iterator[tuple[Predictions, int, Protocol]]:
    """What `measure_seed` is asked for, head by head and seed by seed."""
    truth = test.data.truth()
    for head in trained.values():
        answers = zip(head.heads, dataset.logits_of(head.heads, test.data), head.thresholds, head.seeds, strict=True)
        for of_seed, logits, threshold, seed in answers:
            # with calibration and without
            scores, plain = (torch.sigmoid(some).numpy() for some in (logits, of_seed.uncalibrated(logits)))
            yield Predictions(scores, truth, threshold, plain), seed, test.protocol


def _write(
    head: TrainedHead, parts: Sequence[tuple[pl.DataFrame, pl.DataFrame]], test: TestSplit, *, folder: Path
) -> dict[str, float]:
    """Writes one head's results, of each seed's values and values set by set; returns its main metric values."""
    values = pl.concat(of_seed for of_seed, _ in parts)
    shown = _shown(test.data, head.heads[0])
    sets = pl.concat(pl.concat([shown, of_seed], how="horizontal") for _, of_seed in parts)
    results.write(folder, values, sets_digest=test.sets.digest, sets=sets, training=_training(head))
    return main_values(values)


def _shown(data: Dataset, head: "SetClassifier") -> pl.DataFrame:
    """Each set's images, as rows of the store, and how much each counted for the head."""
    with torch.inference_mode():
        batches = data.batches(dataset.SCORING_BATCH)
        weights = np.concatenate([head.importance(batch.x, batch.mask).numpy() for batch in batches])
    mask, images = data.mask.numpy(), data.images.numpy()
    shown = [images[rows[present]].tolist() for rows, present in zip(data.rows.numpy(), mask, strict=True)]
    importance = [row[present].tolist() for row, present in zip(weights, mask, strict=True)]
    return pl.DataFrame(
        {
            "set_id": data.set_ids,
            "images": pl.Series(shown, dtype=pl.List(pl.UInt32)),
            "importance": pl.Series(importance, dtype=pl.List(pl.Float32)),
        }
    )


def _training(head: TrainedHead) -> dict:
    """What tuning tried and chose, for the tables and the curves."""
    checkpoint = head.checkpoint
    trial = {name: getattr(checkpoint.chosen, name) for name in ("learning_rate", "dropout", "cycle")}
    return {
        "parameters": head.heads[0].parameter_count(),
        "chosen": asdict(checkpoint.chosen),
        "tried": [asdict(tried) for tried in checkpoint.tried],
        "seeds": [asdict(result) for result in checkpoint.seeds],
        "calibrations": [{"slope": float(of_seed.slope), "offset": float(of_seed.offset)} for of_seed in head.heads],
        "epochs": head.history().filter(**trial).drop(list(trial)).to_dicts(),
    }


def _segments(trained: pl.DataFrame, data: Dataset) -> list[Segment]:
    """The parts of the test sets that have values of their own; `trained` are the training sets."""
    seen = trained["images"].explode().unique().to_numpy()
    frequency = np.bincount(trained["labels"].explode().to_numpy(), minlength=data.y.shape[1])
    mask = data.mask.numpy()
    unseen = np.append(~np.isin(data.images.numpy(), seen), False)[data.rows.numpy()] & mask
    return segments(mask.sum(1), unseen.sum(1) / mask.sum(1), data.truth(), frequency=frequency)
