"""The stage: adapters merged into heads, which then read the new backbone's vectors at no cost per image."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.core.errors import StageError
from pipeline.core.files import write_aside
from pipeline.core.lock import hold
from pipeline.embeddings.store import Embeddings
from pipeline.evaluation.evaluate import TestSplit, score
from pipeline.evaluation.overview import overview
from pipeline.export.folding import fold
from pipeline.project import Project
from pipeline.swap import adapters
from pipeline.swap.adapters import Adapter
from pipeline.training import checkpoint
from pipeline.training.checkpoint import TrainedHead

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


def merge(project: Project, backbones: Iterable[tuple[str, str]], settings: "Settings") -> str:
    """Merges saved adapters into heads of old backbones: the heads then read the new backbones' vectors.

    A merged head keeps the thresholds that were chosen with the old backbone. It is saved, and scored on the test sets
    as any head is, both under cache/merged/OLD/NEW/HEAD.

    Args:
        project: where everything lies.
        backbones: an old backbone and a new one each, by alias.
        settings: which heads are compared, which k, and how many resamples.

    Returns:
        What was measured and where it went, and which heads could not be merged and why, for people.

    Raises:
        StageError, StoreError: when there is no adapter, or it was fitted for other vectors, or no head is trained.

    >>> import tempfile
    >>> from pipeline.settings.settings import load
    >>> settings = load(Path(__file__).parents[1] / "params.yaml")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     merge(Project(Path(folder)), [("lite0", "lite1")], settings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pipeline.core.errors.StoreError: ...lite0.h5 is missing: run visagg embed lite0, or dvc repro
    """
    project.all_merged.mkdir(parents=True, exist_ok=True)  # what the graph expects, also of an empty list
    with hold(project.all_merged):
        return "\n".join(_merge_all(project, old, new, settings=settings) for old, new in backbones)


def _merge_all(project: Project, old: str, new: str, *, settings: "Settings") -> str:
    """Merges one adapter into every head that takes it in, and scores what comes of it."""
    old_store, new_store = Embeddings(project.store(old)), Embeddings(project.store(new))
    test = TestSplit.load(project, new_store, settings.evaluate)
    adapter = adapters.load(
        project.adapter(old, new), new_store.fingerprint, old_store.fingerprint, sets_digest=test.sets.digest
    )
    heads = checkpoint.load_trained(project, old, settings.compare.heads)
    if not heads:
        raise StageError(f"no head is trained on {old}: run visagg train {old} HEAD, or dvc repro")
    obstacles = {name: head.heads[0].spec.obstacle() for name, head in heads.items()}
    mergeable = [name for name, obstacle in obstacles.items() if obstacle is None]
    lines = [f"{name}: not merged: {obstacle}" for name, obstacle in obstacles.items() if obstacle is not None]
    for name in mergeable:
        heads[name].require(old_store, test.sets)
    with write_aside(project.merged(old, new)) as aside:
        aside.mkdir()
        merged = {name: _merge(heads[name], adapter, aside / name / "checkpoint") for name in mergeable}
        values = score(merged, new_store, test, folders={name: aside / name / "results" for name in mergeable})
    rows = [(f"{new} {name} from {old}", values[name], project.merged_results(old, new, name)) for name in mergeable]
    return "\n".join([overview(rows), *lines] if rows else lines)


def _merge(head: TrainedHead, adapter: Adapter, folder: Path) -> TrainedHead:
    """Saves a head with an adapter merged in."""
    matrix, offset = torch.from_numpy(adapter.matrix), torch.from_numpy(adapter.offset)
    folded = [fold(part, matrix, offset) for part in head.heads]
    content = replace(
        head.checkpoint, spec=folded[0].spec.model_dump(), dim=len(adapter.matrix), fingerprint=adapter.new
    )
    checkpoint.save(folder, content, [part.state_dict() for part in folded], history=head.history())
    return checkpoint.load(folder)
