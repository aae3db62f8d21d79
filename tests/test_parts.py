"""Stage one in parts: on machines that share nothing, in processes, on a dask cluster; always the bytes of one run."""

import contextlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalogue.images import Images
from pipeline.core.progress import Notes
from pipeline.embed import cluster, parts
from pipeline.embed.parts import Work, Workers, part_path, parts_of, share
from pipeline.embed.stream import RunOptions, embed
from pipeline.embed.target import Target
from pipeline.embeddings.store import DONE, Embeddings
from pipeline.embeddings.writer import open_for_repair, open_for_writing
from pipeline.project import Project
from tests.support.backbones import tiny
from tests.support.extraction import with_tiny_backbones
from tests.support.images import bank, jpeg
from tests.support.program import call
from tests.support.settings import embed_settings, write_settings
from tests.support.workers import dawdle, die, doze, embed_tiny_part, lack, leave, lose

WORDS = "--params", "params.yaml"
IMAGES = 40
PROJECT = Project()
STORE = PROJECT.store("lite0")
QUICK = {"embed.engine": "torch", "embed.precision": "float32", "embed.batch_size": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a catalogue, one of whose images is unreadable, and the store that one run makes of it."""
    folder = tmp_path_factory.mktemp("made")
    bank(folder / PROJECT.images, [*(jpeg(seed, 48, 48) for seed in range(IMAGES - 1)), b"no image"])
    write_settings(folder / "params.yaml", QUICK)
    with with_tiny_backbones():
        assert call(folder, *WORDS, "embed", "lite0").returncode == 0
    return folder


@pytest.fixture
def whole(tmp_path, made, monkeypatch):
    """The bytes of that store; this process is in a copy of the folder that lacks it, and its backbones are tiny."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    STORE.unlink()
    with with_tiny_backbones():
        yield (made / STORE).read_bytes()


def visagg(*words: str) -> tuple[int, list[str]]:
    """Runs the program in this process: its status and the lines on its standard error."""
    done = call(Path(), *WORDS, *words)
    return done.returncode, done.stderr.strip().splitlines()


def assert_whole(expected: bytes) -> None:
    """That the store has these bytes, and no parts are left."""
    assert STORE.read_bytes() == expected and not STORE.parent.joinpath("parts").exists()


@pytest.mark.parametrize(("images", "count"), [(0, 1), (0, 3), (1, 1), (1, 4), (7, 3), (40, 40), (1000, 7), (10, 4)])
def test_shares_cover_every_row_once_and_are_as_even_as_can_be(images, count):
    shares = [share(images, index, count) for index in range(1, count + 1)]
    assert np.concatenate(shares).tolist() == list(range(images))
    sizes = [len(rows) for rows in shares]
    assert max(sizes) - min(sizes) <= 1


def test_shards_made_apart_and_merged_are_the_store_of_one_run(whole):
    for shard in ("1/3", "3/3", "2/3"):
        assert visagg("embed", "lite0", "--shard", shard)[0] == 0 and not STORE.exists()
    status, lines = visagg("cache", "merge", "lite0")
    assert status == 0 and STORE.read_bytes() == whole
    assert lines == [
        "cache/embeddings/parts/1-of-3/lite0.h5: 13 rows merged",
        "cache/embeddings/parts/2-of-3/lite0.h5: 13 rows merged",
        "cache/embeddings/parts/3-of-3/lite0.h5: 14 rows merged",
        "cache/embeddings/lite0.h5: no rows wait for their vectors",
    ]
    assert len(parts_of(STORE)) == 3, "they are left as they are"


def test_an_unfinished_part_leaves_its_rows_waiting(whole):
    """Given by its path, from wherever it was copied to; the next run does the rest and no more."""
    assert visagg("embed", "lite0", "--shard", "1/2")[0] == 0
    part = part_path(STORE, 1, 2).rename("copied.h5")
    with open_for_repair(part) as store:
        store.reopen(np.array([3, 4, 9]))
    status, lines = visagg("cache", "merge", "lite0", "copied.h5")
    assert status == 0
    assert lines == ["copied.h5: 17 rows merged", "cache/embeddings/lite0.h5: 23 rows wait for their vectors"]
    assert np.flatnonzero(Embeddings(STORE).status == DONE).tolist() == [r for r in range(20) if r not in (3, 4, 9)]
    status, lines = visagg("embed", "lite0")
    assert status == 0 and STORE.read_bytes() == whole
    assert any("embed: 23 images in" in line for line in lines)


def test_a_shard_goes_on_where_it_was_interrupted(whole):
    assert visagg("embed", "lite0", "--shard", "1/2")[0] == 0
    before = (part := part_path(STORE, 1, 2)).read_bytes()
    with open_for_repair(part) as store:
        store.reopen(np.arange(5))
    status, lines = visagg("embed", "lite0", "--shard", "1/2")
    assert status == 0 and part.read_bytes() == before and any("embed: 5 images in" in line for line in lines)


def test_a_part_of_another_backbone_is_refused_with_the_fields_that_differ(whole):
    part = part_path(STORE, 1, 2)
    embed(Images(PROJECT.images), [Target("other", tiny(48, seed=1), part)], RunOptions(embed_settings(), Notes()))
    status, lines = visagg("cache", "merge", "lite0")
    differences = f"preprocessing.size: 48, not 32; weights: {1:064x}, not {0:064x}"
    assert status == 1 and lines == [f"visagg: {part} does not fit {STORE}: {differences}"]
    assert not Embeddings(STORE).status.any()


def test_no_parts_to_merge(whole):
    status, lines = visagg("cache", "merge", "lite0")
    assert status == 1 and lines == [
        "visagg: no parts of lite0 in cache/embeddings/parts: run visagg embed lite0 --shard 1/2"
    ]
    assert visagg("cache", "merge", "lite0", "nowhere.h5")[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        *(["--shard", shard] for shard in ("3/2", "0/2", "1/0", "x", "1", "-1/2", "1/2/3", "1.5/2", "")),
        ["--jobs", "0"],
        ["--shard", "1/2", "--jobs", "2"],
        ["--shard", "1/2", "--scheduler", "tcp://127.0.0.1:8786"],
        ["--jobs", "2", "--scheduler", "tcp://127.0.0.1:8786"],
    ],
)
def test_parts_that_make_no_sense_are_a_fault_of_usage(whole, words):
    status, lines = visagg("embed", "lite0", *words)
    assert status == 2 and lines[-1].startswith("Error: ") and not STORE.parent.joinpath("parts").exists()


def test_processes_give_the_bytes_of_one_and_leave_no_parts(whole, monkeypatch):
    monkeypatch.setattr(parts, "embed_part", embed_tiny_part)
    status, lines = visagg("embed", "lite0", "--jobs", "2")
    assert status == 0, lines
    assert_whole(whole)
    for number in (1, 2):
        assert any(line.startswith(f"part {number} of 2: embed: 20 images in ") for line in lines)
    assert lines[-1].startswith("embed lite0: 39 vectors of 16 numbers, 1 of 40 images are unreadable: ")


@pytest.mark.parametrize(
    ("task", "seconds", "said"), [(die, 600.0, "the workers were lost"), (dawdle, 1.0, "took longer than 1 s")]
)
def test_a_worker_that_is_killed_or_never_done_costs_one_line(whole, monkeypatch, task, seconds, said):
    monkeypatch.setattr(parts, "SECONDS_TO_START", seconds)
    monkeypatch.setattr(parts, "SECONDS_AN_IMAGE", 0.0)
    monkeypatch.setattr(parts, "embed_part", task)
    status, lines = visagg("embed", "lite0", "--jobs", "2")
    assert status == 1 and said in lines[-1] and "what is finished is kept" in lines[-1]
    assert not any("Traceback" in line for line in lines)


class ThisProcess(parts.Processes):
    """Does the tasks itself, one after the other."""

    def results(self, do, tasks, seconds):
        yield from enumerate(map(do, tasks))


@pytest.fixture
def here(monkeypatch):
    """Has this process do the tasks."""
    monkeypatch.setattr(parts, "_open_crew", lambda workers: contextlib.nullcontext(ThisProcess(workers.jobs)))


@pytest.fixture
def tasks(here, monkeypatch):
    """The tasks that workers did so far."""
    done, embed_part = [], parts.embed_part
    monkeypatch.setattr(parts, "embed_part", lambda task: done.append(task) or embed_part(task))
    return done


def rows_of(tasks):
    return sorted(row for task in tasks for row in task.rows.tolist())


def test_parts_that_an_interrupted_run_left_are_not_done_again(whole, tasks):
    for shard in ("1/2", "4/4"):
        assert visagg("embed", "lite0", "--shard", shard)[0] == 0
    assert visagg("embed", "lite0", "--jobs", "2")[0] == 0
    assert rows_of(tasks) == list(range(20, 30)) and len(tasks) == 2
    assert_whole(whole)
    assert visagg("embed", "lite0", "--jobs", "2")[0] == 0
    assert len(tasks) == 2, "a finished store needs no workers"


def test_begun_anew_nothing_is_taken_over(whole, tasks):
    for words in (["--shard", "1/2"], ["--jobs", "2", "--rebuild"]):
        assert visagg("embed", "lite0", *words)[0] == 0
    assert rows_of(tasks) == list(range(IMAGES))
    assert_whole(whole)


def test_backbones_that_wait_for_the_same_images_share_a_worker_s_decoding(whole, here, monkeypatch):
    """Others get parts of their own, of what they wait for; more parts than workers where they would be too large."""
    monkeypatch.setattr(parts, "PART_IMAGES", 15)
    opened, digests = tiny(), Images(PROJECT.images).digests
    targets = [Target(name, opened, PROJECT.store(name)) for name in "abcd"]
    finished = {"a": [], "b": [1, 5], "c": [], "d": range(IMAGES)}
    for target in targets:
        rows = np.array(finished[target.name], np.int64)
        with open_for_writing(target.path, opened.fingerprint, digests, parameters=opened.parameters) as store:
            store.write(rows, np.ones((len(rows), opened.dim)))
    tasks = []
    monkeypatch.setattr(parts, "embed_part", lambda task: tasks.append(task) or [])
    loaders = dict.fromkeys("abcd", ("tiny", "weights.pth"))
    parts.embed_in_parts(Work(PROJECT.images, targets, loaders, embed_settings()), Workers(jobs=2), console=Notes())
    shares = {name: [task.rows for task in tasks if set(task.stores) == set(name)] for name in ("ac", "b")}
    assert [len(rows) for rows in shares["ac"]] == [13, 13, 14] and [len(rows) for rows in shares["b"]] == [12, 13, 13]
    assert np.concatenate(shares["ac"]).tolist() == list(range(IMAGES))
    assert np.concatenate(shares["b"]).tolist() == [row for row in range(IMAGES) if row not in (1, 5)]
    assert len(tasks) == 6
    assert {weights for task in tasks for _, weights in task.backbones.values()} == {str(Path("weights.pth").resolve())}


@contextlib.contextmanager
def dask_cluster(workers):
    """A cluster whose workers are threads of this process, to which tasks go through sockets, as to any."""
    distributed = pytest.importorskip("distributed")
    words = {"threads_per_worker": 1, "processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=workers, **words) as opened:
        yield opened.scheduler_address


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dask_cluster_gives_the_bytes_of_one_run(whole, workers):
    with dask_cluster(workers) as address:
        status, lines = visagg("embed", "lite0", "--scheduler", address)
    assert status == 0, lines
    assert_whole(whole)
    assert any(line.startswith(f"part {workers} of {workers}: embed: {IMAGES // workers} images in ") for line in lines)


def test_a_dask_scheduler_that_is_not_there_or_has_no_workers_costs_one_line(whole, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 0.5)
    status, lines = visagg("embed", "lite0", "--scheduler", "tcp://127.0.0.1:9")
    assert status == 1 and lines[-1] == "visagg: no dask scheduler answers at tcp://127.0.0.1:9 (OSError)"
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 60)
    with dask_cluster(0) as address:
        status, lines = visagg("embed", "lite0", "--scheduler", address)
    said = f"visagg: the dask scheduler at {address} has no workers: start dask worker {address}"
    assert status == 1 and lines[-1] == said  # before it, on a busy machine, what the stage is for


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (leave, "or has had no workers for "),
        (lose, "were killed over and over (at last tcp://lost)"),
        (lack, "lacks a module (No module named 'pipeline'): install the same version"),
        (doze, "a part took longer than 1 s"),
    ],
)
def test_dask_workers_that_fail_cost_one_line(whole, monkeypatch, task, said):
    monkeypatch.setattr(cluster, "SECONDS_WITHOUT_WORKERS", 1.0)
    monkeypatch.setattr(parts, "SECONDS_TO_START", 1.0 if task is doze else 600.0)
    monkeypatch.setattr(parts, "SECONDS_AN_IMAGE", 0.0)
    monkeypatch.setattr(parts, "embed_part", task)
    with dask_cluster(2) as address:
        status, lines = visagg("embed", "lite0", "--scheduler", address)
    assert status == 1 and lines[-1].startswith("visagg: ") and said in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_dask_that_is_not_installed_costs_one_line(whole, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    status, lines = visagg("embed", "lite0", "--scheduler", "tcp://127.0.0.1:9")
    assert status == 2 and lines == ["visagg: dask is not installed: pip install 'visagg[dask]'"]
