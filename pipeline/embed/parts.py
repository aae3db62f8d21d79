"""Stage one in parts: each part of the images goes to a store of its own, and the stores are merged.

Parts run in processes of this machine, on the workers of a dask cluster, or by hand on machines that know nothing of
each other. What travels is paths: workers see the same files, and one process writes a store.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np

from pipeline.catalogue.images import Images
from pipeline.core.errors import StageError, StoreError
from pipeline.core.lock import hold
from pipeline.core.progress import Console, Notes
from pipeline.embed.backbones.backbone import open_backbone
from pipeline.embed.cluster import GOES_ON, Cluster, open_cluster, too_long
from pipeline.embed.stream import CONSOLE, RunOptions, embed
from pipeline.embed.target import Target, open_stores, report
from pipeline.embeddings.store import Embeddings
from pipeline.embeddings.writer import EmbeddingWriter

if TYPE_CHECKING:
    from pipeline.settings.sections import EmbedSettings

PART_IMAGES = 8000  # at most: a part is what a worker that is lost may have to begin anew
SECONDS_AN_IMAGE = 1.0  # a worker that needs longer is given up
SECONDS_TO_START = 600.0


def share(images: int, index: int, count: int) -> np.ndarray:
    """Rows of the index-th of `count` parts, counted from 1, of a number of images: int64, consecutive.

    >>> [share(7, index, 3).tolist() for index in (1, 2, 3)]
    [[0, 1], [2, 3], [4, 5, 6]]
    """
    return np.arange(images * (index - 1) // count, images * index // count)


def part_path(store: Path, index: int, count: int) -> Path:
    """Where the part of a store lies.

    >>> part_path(Path("cache/embeddings/lite0.h5"), 1, 2)
    PosixPath('cache/embeddings/parts/1-of-2/lite0.h5')
    """
    return store.parent / f"parts/{index}-of-{count}" / store.name


def parts_of(store: Path) -> list[Path]:
    """The parts of a store that are there, sorted."""
    return sorted(store.parent.glob(f"parts/*-of-*/{store.name}"))


def merge_parts(images: Images, target: Target, parts: Sequence[Path], *, console: Console = CONSOLE) -> None:
    """Copies what parts hold into a backbone's store, and says how many rows came from each and how many still wait.

    Args:
        images: the catalogue's images.
        target: the backbone and its store, which is made where it is missing.
        parts: the parts; they are left as they are.
        console: where it says so.

    Raises:
        StoreError: when a part has another fingerprint than the backbone, is damaged or missing.
    """
    with open_stores(images, [target]) as (store,):
        for path in parts:
            try:
                part = Embeddings(path)
            except StoreError as error:
                said = str(error).partition(": embed")[0]
                raise StoreError(f"a part is not merged, embed it again: {said}") from None
            console.say(f"{path}: {store.copy_from(part)} rows merged")
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


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        jobs: processes of this machine.
        scheduler: the address of a dask scheduler, whose workers do it instead.
    """

    jobs: int = 1
    scheduler: str | None = None


@dataclass(frozen=True)
class Processes:
    """Processes of this machine.

    Attributes:
        slots: how many tasks run at a time.
    """

    slots: int

    def results(self, do: Callable, tasks: Sequence[Task], seconds: float) -> Iterator[tuple[int, list[str]]]:
        """As `Cluster.results`, in the order of the tasks."""
        run = joblib.Parallel(self.slots, backend="loky", timeout=seconds, return_as="generator")
        try:
            yield from enumerate(run(joblib.delayed(do)(task) for task in tasks))
        except multiprocessing.TimeoutError:  # joblib's; no kin of the builtin one
            raise too_long(seconds) from None
        except BrokenExecutor as error:
            raise StageError(
                f"the workers were lost ({type(error).__name__}): killed, perhaps for want of memory; {GOES_ON}"
            ) from None


@dataclass(frozen=True)
class Work:
    """What is to be done, whoever does it.

    Attributes:
        images: the catalogue's images.h5.
        targets: the backbones and their stores.
        backbones: model and weights by alias, for workers to load.
        settings: of stage one; threads are those of one worker.
    """

    images: Path
    targets: Sequence[Target]
    backbones: Mapping[str, tuple[str, str]]
    settings: "EmbedSettings"

    def tasks(self, stores: Sequence[EmbeddingWriter], workers: Workers, slots: int) -> Iterator[list[Task]]:
        """Tasks for what stores wait for, `slots` of which run at a time: a list for targets that wait for the same."""
        for targets, rows in _groups(self.targets, stores):
            count = min(len(rows), max(slots, -(-len(rows) // PART_IMAGES)))
            yield [
                Task(
                    self.images.resolve(),
                    rows[share(len(rows), index, count)],
                    {name: _resolved(*self.backbones[name]) for name in targets},
                    {name: part_path(targets[name].path.resolve(), index, count) for name in targets},
                    self.settings,
                    0 if workers.scheduler else workers.jobs,
                )
                for index in range(1, count + 1)
            ]


def embed_in_parts(work: Work, workers: Workers, *, rebuild: bool = False, console: Console = CONSOLE) -> None:
    """As `embed`, in several processes of this machine, or on a dask cluster whose workers see the same files.

    Args:
        work: what is to be done.
        workers: processes, or a cluster.
        rebuild: whether to begin anew, whatever the stores hold.
        console: where it says what it does.

    Raises:
        SettingsError: when dask is not installed.
        StageError: when no scheduler answers, it or its workers are lost, or no image can be read.
        StoreError: as `embed`.
    """
    targets = work.targets
    with open_stores(Images(work.images), targets, rebuild=rebuild) as stores, _open_crew(workers) as crew:
        for target, store in zip(targets, stores, strict=True):
            _collect(target, store, rebuild=rebuild)
        for tasks in work.tasks(stores, workers, crew.slots):
            _run(tasks, crew, console)
        for target, store in zip(targets, stores, strict=True):
            _collect(target, store)
        report(targets, stores, console, whole_catalogue=True)


def _groups(targets: Sequence[Target], stores: Sequence[EmbeddingWriter]) -> list[tuple[dict[str, Target], np.ndarray]]:
    """Targets by name that wait for the same rows, with these rows, int64 [m]."""
    groups: dict[bytes, dict[str, Target]] = {}
    for target, store in zip(targets, stores, strict=True):
        groups.setdefault(store.pending().tobytes(), {})[target.name] = target
    return [(group, np.frombuffer(rows, np.int64)) for rows, group in groups.items() if rows]


def _collect(target: Target, store: EmbeddingWriter, *, rebuild: bool = False) -> None:
    """Takes over what parts have, an interrupted run's among them, and removes them; with `rebuild` removes them."""
    for path in parts_of(target.path):
        with hold(path):
            if not rebuild:
                store.copy_from(Embeddings(path))
            path.unlink()
    with contextlib.suppress(OSError):  # other backbones' parts may be there
        for folder in target.path.parent.glob("parts/*-of-*"):
            folder.rmdir()
        (target.path.parent / "parts").rmdir()


def _resolved(model: str, weights: str) -> tuple[str, str]:
    """The same with a path that holds wherever a worker was started."""
    is_path = weights != "hub" and not weights.startswith("package:")
    return model, str(Path(weights).resolve()) if is_path else weights


def _run(tasks: Sequence[Task], crew: Cluster | Processes, console: Console) -> None:
    """Lets workers do some tasks, and says what they say."""
    seconds = SECONDS_TO_START + SECONDS_AN_IMAGE * max(len(task.rows) for task in tasks)
    with console.progress("embed", sum(len(task.rows) for task in tasks), "images") as progress:
        for number, lines in crew.results(embed_part, tasks, seconds):
            progress.add(len(tasks[number].rows))
            for line in lines:
                console.say(f"part {number + 1} of {len(tasks)}: {line}")


def embed_part(task: Task) -> list[str]:
    """What a worker runs.

    Returns:
        The lines that it had to say.
    """
    threads = task.settings.threads or max(1, joblib.cpu_count() // (task.processes or _slots_of_this_worker()))
    options = RunOptions(task.settings.model_copy(update={"threads": threads}), notes := Notes())
    targets = [
        Target(name, open_backbone(model, weights), task.stores[name])
        for name, (model, weights) in task.backbones.items()
    ]
    embed(Images(task.images).part(task.rows), targets, options, whole_catalogue=False)
    return notes.lines


def _slots_of_this_worker() -> int:
    from distributed import get_worker

    return get_worker().state.nthreads


@contextlib.contextmanager
def _open_crew(workers: Workers) -> Iterator[Cluster | Processes]:
    """Who does the tasks."""
    if workers.scheduler is None:
        yield Processes(workers.jobs)
        return
    with open_cluster(workers.scheduler) as cluster:
        yield cluster
