"""Stage one in parts: each part of the images goes to a store of its own, and the stores are merged.

Parts run in processes of this machine or on the workers of a dask cluster, both through joblib, or by hand on machines
that know nothing of each other. What travels is paths: workers see the same files, and one process writes a store.
"""

import contextlib
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np

from pipeline import embeddings
from pipeline.backbones import open_backbone
from pipeline.catalogue import Images
from pipeline.embeddings import Embeddings, EmbeddingWriter
from pipeline.errors import SettingsError, StageError
from pipeline.extract.stream import CONSOLE, Target, embed, open_stores, report_unreadable
from pipeline.progress import Console, Notes

if TYPE_CHECKING:
    from pipeline.params import EmbedSettings

PART_IMAGES = 8000  # at most: a part is what a worker that is lost may have to begin anew
SECONDS_AN_IMAGE = 1.0  # a worker that needs longer is given up
SECONDS_TO_START = 600.0
SECONDS_TO_CONNECT = 10.0


def share(images: int, index: int, count: int) -> np.ndarray:
    """Rows of the index-th of `count` parts, counted from 1, of a number of images: int64, consecutive."""
    return np.arange(images * (index - 1) // count, images * index // count)


def part_path(store: Path, index: int, count: int) -> Path:
    """Where the part of a store lies."""
    return store.parent / f"parts/{index}-of-{count}" / store.name


def parts_of(store: Path) -> list[Path]:
    """The parts of a store that are there, sorted."""
    return sorted(store.parent.glob(f"parts/*-of-*/{store.name}"))


def merge_parts(images: Images, target: Target, parts: Sequence[Path], console: Console = CONSOLE) -> None:
    """Copies what parts hold into a backbone's store, and says how many rows came from each and how many still wait.

    Args:
        images: the catalogue's images.
        target: the backbone and its store, which is made where it is missing.
        parts: the parts; they are left as they are.

    Raises:
        StoreError: when a part has another identity than the backbone, is damaged or missing.
    """
    with open_stores(images, [target], rebuild=False) as (store,):
        for path in parts:
            console.say(f"{path}: {store.copy_from(Embeddings(path))} rows merged")
        console.say(f"{target.path}: {len(store.pending()) or 'no'} rows wait for their vectors")


@dataclass(frozen=True)
class Task:
    """What one worker does.

    Attributes:
        images: the catalogue's images.h5.
        rows: of the images, int64 [m].
        backbones: model and weights by alias.
        stores: where the vectors go, by alias.
        settings: of stage one.
        processes: how many such tasks share the machine; 0: as many as the dask worker has slots.
    """

    images: Path
    rows: np.ndarray
    backbones: dict[str, tuple[str, str]]
    stores: dict[str, Path]
    settings: "EmbedSettings"
    processes: int


def embed_in_parts(
    images_path: Path,
    targets: Sequence[Target],
    backbones: Mapping[str, tuple[str, str]],
    settings: "EmbedSettings",
    jobs: int = 1,
    scheduler: str | None = None,
    rebuild: bool = False,
) -> None:
    """As `embed`, in several processes of this machine, or on a dask cluster whose workers see the same files.

    Args:
        images_path: the catalogue's images.h5.
        targets: the backbones and their stores.
        backbones: model and weights by alias, for the workers to load.
        settings: of stage one; threads are those of one worker.
        jobs: processes.
        scheduler: the address of a dask scheduler, instead of processes.
        rebuild: whether to begin anew, whatever the stores hold.

    Raises:
        SettingsError: when dask is not installed.
        StageError: when no scheduler answers, or workers are lost over and over.
        StoreError: as `embed`.
    """
    images = Images(images_path)
    with open_stores(images, targets, rebuild) as stores, _workers(jobs, scheduler) as slots:
        for target, store in zip(targets, stores):
            _collect(target, store, rebuild)
        for group, rows in _groups(targets, stores):
            count = min(len(rows), max(slots, -(-len(rows) // PART_IMAGES)))
            tasks = [
                Task(
                    images_path.resolve(),
                    rows[share(len(rows), index, count)],
                    {name: _resolved(*backbones[name]) for name in group},
                    {name: part_path(group[name].path.resolve(), index, count) for name in group},
                    settings,
                    0 if scheduler else jobs,
                )
                for index in range(1, count + 1)
            ]
            _run(tasks, len(rows), CONSOLE)
        for target, store in zip(targets, stores):
            _collect(target, store, rebuild=False)
        report_unreadable(targets, stores, True, CONSOLE)


def _groups(targets: Sequence[Target], stores: Sequence[EmbeddingWriter]) -> list[tuple[dict[str, Target], np.ndarray]]:
    """Targets by name that wait for the same rows, with these rows."""
    groups: dict[bytes, dict[str, Target]] = {}
    for target, store in zip(targets, stores):
        groups.setdefault(store.pending().tobytes(), {})[target.name] = target
    return [(group, np.frombuffer(rows, np.int64)) for rows, group in groups.items() if rows]


def _collect(target: Target, store: EmbeddingWriter, rebuild: bool) -> None:
    """Takes over what parts have, an interrupted run's among them, and removes them; with `rebuild` removes them."""
    for path in parts_of(target.path):
        with embeddings.hold(path):
            if not rebuild:
                store.copy_from(Embeddings(path))
            path.unlink()
        path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # other backbones' parts may be there
        for folder in target.path.parent.glob("parts/*-of-*"):
            folder.rmdir()
        (target.path.parent / "parts").rmdir()


def _resolved(model: str, weights: str) -> tuple[str, str]:
    """The same with a path that holds wherever a worker was started."""
    is_path = weights != "hub" and not weights.startswith("package:")
    return model, str(Path(weights).resolve()) if is_path else weights


def _run(tasks: Sequence[Task], images: int, console: Console) -> None:
    timeout = SECONDS_TO_START + SECONDS_AN_IMAGE * max(len(task.rows) for task in tasks)
    run = joblib.Parallel(n_jobs=tasks[0].processes or -1, timeout=timeout, return_as="generator")
    try:
        with console.progress("embed", images, "images") as progress:
            for number, said in enumerate(run(joblib.delayed(embed_part)(task) for task in tasks)):
                if progress:
                    progress.add(len(tasks[number].rows))
                for line in said:
                    console.say(f"part {number + 1} of {len(tasks)}: {line}")
    except (BrokenExecutor, CancelledError) as error:
        raise StageError(
            f"the workers were lost ({type(error).__name__}): killed, perhaps for want of memory; what is finished is "
            "kept, and the same command goes on from there"
        ) from None
    except multiprocessing.TimeoutError:  # joblib's; no kin of the builtin one
        raise StageError(
            f"a part of {max(len(task.rows) for task in tasks)} images took longer than {timeout:.0f} s: look at the "
            "workers (one that is killed over and over, for want of memory, say); what is finished is kept"
        ) from None


def embed_part(task: Task) -> list[str]:
    """What a worker runs.

    Returns:
        The lines that it had to say.
    """
    threads = task.settings.threads or max(1, joblib.cpu_count() // (task.processes or _slots_of_this_worker()))
    settings = task.settings.model_copy(update={"threads": threads})
    targets = [
        Target(name, open_backbone(model, weights), task.stores[name])
        for name, (model, weights) in task.backbones.items()
    ]
    notes = Notes()
    embed(Images(task.images).part(task.rows), targets, settings, all_there_is=False, console=notes)
    return notes.lines


def _slots_of_this_worker() -> int:
    from distributed import get_worker

    return get_worker().state.nthreads


@contextlib.contextmanager
def _workers(jobs: int, scheduler: str | None) -> Iterator[int]:
    """Lets joblib use processes, or a dask cluster; yields how many tasks run at a time."""
    if scheduler is None:
        with joblib.parallel_config(backend="loky"):
            yield jobs
        return
    try:
        from distributed import Client
    except ImportError:
        raise SettingsError("dask is not installed: pip install 'visagg[dask]'") from None
    try:
        client = Client(scheduler, timeout=SECONDS_TO_CONNECT)
    except (OSError, TimeoutError, ValueError) as error:
        raise StageError(f"no dask scheduler answers at {scheduler} ({type(error).__name__})") from None
    with client, joblib.parallel_config(backend="dask"):
        slots = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
        if not slots:
            raise StageError(f"the dask scheduler at {scheduler} has no workers: start dask worker {scheduler}")
        yield slots
