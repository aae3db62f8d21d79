"""The run: contenders embed the same photos, block by block, in turns.

Blocks are alike, and each is embedded by one contender after the other, in an order that rotates, so that the
machine's moods fall on all of them; a ratio is of one machine at one time, whatever the speeds are.
"""

import importlib.metadata
import importlib.util
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import joblib
import numpy as np

from pipeline.bench import memory
from pipeline.bench.child import RANDOM, Child, Job, start
from pipeline.bench.figures import Measured, figures
from pipeline.bench.photos import Photos, gather
from pipeline.errors import WeightsError
from pipeline.machine import processor
from pipeline.progress import Console

if TYPE_CHECKING:
    from pipeline.params import BackboneSettings, EmbedSettings

CONTENDERS = ("reference", "onnxruntime", "visagg")
NEEDED_FOR_ONNX = ("onnxruntime", "onnx", "onnxscript")
LIBRARIES = ("torch", "timm", "openvino", "onnxruntime")
WARM_UP = 128  # photos: two of the reference's batches
WATCHED = 512  # photos: by then, all that is prepared ahead is there
CONSOLE = Console()


def bench_embedding(
    folder: Path,
    alias: str,
    backbone: "BackboneSettings",
    settings: "EmbedSettings",
    limit: int | None = None,
    blocks: int = 6,
    batch_size: int = 64,
    console: Console = CONSOLE,
) -> dict:
    """Measures how many photos a second each contender embeds, end to end.

    Where the hub does not give the backbone's weights, random ones take their place.

    Args:
        folder: of photos, in folders that name their classes.
        alias: the backbone's.
        backbone: the model, and where its weights come from.
        settings: of stage one.
        limit: how many photos to take; None: all.
        blocks: how many the photos are divided into, if there are as many photos.
        batch_size: images a batch of the contenders that do not choose it themselves.
        console: where it says what it does.

    Returns:
        JSON values: the machine, and each contender's figures.

    Raises:
        StageError: when there are no photos, or a contender fails.
        SettingsError, WeightsError: as `open_backbone`.
    """
    with TemporaryDirectory(prefix="visagg-bench-") as temporary:
        place = Path(temporary)
        photos = gather(folder, limit, place / "images.h5", console)
        files = (photos.paths, place / "images.h5", photos.rows, place)
        job = Job("", backbone.model, backbone.weights, *files, settings, batch_size)
        parts = np.array_split(np.arange(len(photos.paths)), min(blocks, len(photos.paths)))
        with ExitStack() as stack:
            children, weights = _start(job, stack, console)
            measured = _take_turns(children, parts, console)
    return {
        "images": len(photos.paths),
        "backbone": alias,
        "model": backbone.model,
        "weights": weights,
        "blocks": len(parts),
        "batch_size": batch_size,
        "machine": _machine(),
        "contenders": _compare(measured, photos, weights),
    }


def _start(job: Job, stack: ExitStack, console: Console) -> tuple[dict[str, Child], str]:
    """Starts the contenders, one after the other; returns them by name, and the weights that they have."""
    children = {}
    for name in _present(console):
        job = replace(job, contender=name)
        try:
            child = stack.enter_context(start(job))
        except WeightsError as error:
            if job.weights != "hub" or children:
                raise
            console.say(f"bench: random weights, on which speed does not depend: {error}")
            job = replace(job, weights=RANDOM)
            child = stack.enter_context(start(job))
        console.say(f"bench: {name}: {child.engine}, ready after {child.start_seconds:.1f} s")
        children[name] = child
    return children, job.weights


def _present(console: Console) -> list[str]:
    """The contenders whose libraries are installed."""
    missing = [library for library in NEEDED_FOR_ONNX if importlib.util.find_spec(library) is None]
    if missing:
        console.say(f"bench: onnxruntime is left out, for want of {', '.join(missing)}: pip install 'visagg[bench]'")
    return [name for name in CONTENDERS if name != "onnxruntime" or not missing]


def _take_turns(children: dict[str, Child], blocks: Sequence[np.ndarray], console: Console) -> dict[str, Measured]:
    """Each block, int64 [m] photos, by each contender, while the others wait; then their memory, out of the time."""
    measured = {name: Measured.of(child) for name, child in children.items()}
    for child in children.values():
        child.embed(np.concatenate(blocks)[:WARM_UP])
    names = list(children)
    for number, block in enumerate(blocks):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds, vectors = children[name].embed(block)
            measured[name].seconds.append(seconds)
            measured[name].vectors.append(vectors)
        speeds = ", ".join(f"{name} {len(block) / measured[name].seconds[-1]:.1f}" for name in names)
        console.say(f"bench: block {number + 1} of {len(blocks)}, images a second: {speeds}")
    for name, child in children.items():
        with memory.watch(child.pid) as peak:
            child.embed(blocks[0][:WATCHED])
        measured[name].peak = peak.size
    return measured


def _compare(measured: dict[str, Measured], photos: Photos, weights: str) -> list[dict]:
    classes = None if weights == RANDOM else photos.classes
    return [figures(name, run, measured["reference"], classes) for name, run in measured.items()]


def _machine() -> dict:
    return {
        "processor": processor(),
        "cores": joblib.cpu_count(),
        "python": platform.python_version(),
        **{library: _version(library) for library in LIBRARIES},
    }


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
