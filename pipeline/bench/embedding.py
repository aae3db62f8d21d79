"""The run: contenders embed the same photos, block by block, in turns.

Blocks are alike, and each is embedded by one contender after another, in an order that rotates, so that the machine's
moods fall on all of them; a ratio is of one machine at one time, whatever the speeds are.
"""

import importlib.metadata
import importlib.util
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import joblib
import numpy as np

from pipeline.bench import memory
from pipeline.bench.child import Child, start
from pipeline.bench.job import RANDOM, Job
from pipeline.bench.photos import gather
from pipeline.bench.values import ContenderRun, contender_values, table
from pipeline.core.errors import WeightsError
from pipeline.core.files import write_json
from pipeline.core.machine import processor
from pipeline.core.progress import Console

if TYPE_CHECKING:
    from pipeline.settings.sections import BackboneSettings, EmbedSettings

CONTENDERS = {
    "reference": "pipeline.bench.contenders:Reference",
    "onnxruntime": "pipeline.bench.contenders:OnnxRuntime",
    "visagg": "pipeline.bench.stage_one:StageOne",
}
NEEDED_FOR_ONNX = ("onnxruntime", "onnx", "onnxscript")
LIBRARIES = ("torch", "timm", "openvino", "onnxruntime")
WARM_UP = 128  # photos: two of the reference's batches
WATCHED = 512  # photos: by then, all that is prepared ahead is there
CONSOLE = Console()


@dataclass(frozen=True)
class Size:
    """How large a run is.

    Attributes:
        folder: of photos, in folders that name their classes.
        limit: how many photos to take; None: all.
        blocks: how many the photos are divided into, if there are as many photos.
        batch: images a batch of the contenders that do not choose it themselves.
    """

    folder: Path
    limit: int | None = None
    blocks: int = 6
    batch: int = 64


def bench_embedding(
    alias: str,
    backbone: "BackboneSettings",
    settings: "EmbedSettings",
    *,
    size: Size,
    json_path: Path | None = None,
) -> str:
    """Measures how many photos a second each contender embeds, end to end; writes the values, and gives a table."""
    measured = {"backbone": alias, **measure_embedding(backbone, settings, size)}
    if json_path:
        write_json(json_path, measured)
    return table(measured["contenders"])


def measure_embedding(
    backbone: "BackboneSettings", settings: "EmbedSettings", size: Size, *, console: Console = CONSOLE
) -> dict:
    """Lets contenders embed the same photos in turns.

    Where the hub does not give the backbone's weights, random ones take their place.

    Args:
        backbone: the model, and where its weights come from.
        settings: of stage one.
        size: of the run.
        console: where it says what it does.

    Returns:
        JSON values: the machine, and each contender's values.

    Raises:
        StageError: when there are no photos, or a contender fails.
        SettingsError, WeightsError: as `open_backbone`.
    """
    with TemporaryDirectory(prefix="visagg-bench-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        photos = gather(size.folder, size.limit, folder / "images.h5", console=console)
        job = Job("", "", backbone.model, backbone.weights, photos, folder, settings, size.batch)
        blocks = np.array_split(np.arange(len(photos)), min(size.blocks, len(photos)))
        children, weights = start_all(job, stack, console)
        runs = take_turns(children, blocks, console)
    classes = None if weights == RANDOM else photos.classes
    return {
        "images": len(photos),
        "model": backbone.model,
        "weights": weights,
        "blocks": len(blocks),
        "batch_size": size.batch,
        "machine": _machine(),
        "contenders": [contender_values(name, run, runs["reference"], classes=classes) for name, run in runs.items()],
    }


def start_all(job: Job, stack: ExitStack, console: Console) -> tuple[dict[str, Child], str]:
    """Starts the contenders, one after another.

    Args:
        job: what they get to know; their names and code are filled in.
        stack: ends them.
        console: where it says which are ready, and which are left out.

    Returns:
        The contenders by name, and the weights that they have.
    """
    children: dict[str, Child] = {}
    for name in _installed(console):
        job = replace(job, contender=name, code=CONTENDERS[name])
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


def _installed(console: Console) -> list[str]:
    """The contenders whose libraries are installed."""
    missing = [library for library in NEEDED_FOR_ONNX if importlib.util.find_spec(library) is None]
    if missing:
        console.say(f"bench: onnxruntime is left out, for want of {', '.join(missing)}: pip install 'visagg[bench]'")
    return [name for name in CONTENDERS if name != "onnxruntime" or not missing]


def take_turns(children: dict[str, Child], blocks: Sequence[np.ndarray], console: Console) -> dict[str, ContenderRun]:
    """Each block, int64 [m] photos, by each contender, while the others wait; then their memory, out of the time."""
    runs = {name: ContenderRun(child.engine, child.start_seconds) for name, child in children.items()}
    for child in children.values():
        child.embed(np.concatenate(blocks)[:WARM_UP])
    names = list(children)
    for number, block in enumerate(blocks):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds, vectors = children[name].embed(block)
            runs[name].seconds.append(seconds)
            runs[name].vectors.append(vectors)
        speeds = ", ".join(f"{name} {len(block) / runs[name].seconds[-1]:.1f}" for name in names)
        console.say(f"bench: block {number + 1} of {len(blocks)}, images a second: {speeds}")
    for name, child in children.items():
        with memory.watch(child.pid) as peak:
            child.embed(blocks[0][:WATCHED])
        runs[name].peak = peak.size
    return runs


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
