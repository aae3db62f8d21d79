"""Stage one in parts: on machines that share nothing, in processes, on a dask cluster; always the bytes of one run."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest

from pipeline import layout
from pipeline.backbones import open_backbone
from pipeline.catalogue import Images
from pipeline.cli import cli, main
from pipeline.embeddings import DONE, Embeddings, open_for_repair, open_for_writing
from pipeline.extract import Target, embed, embed_in_parts, part_path, parts, parts_of, share
from tests.conftest import ROOT, SMALL, bank, embed_settings, jpeg, small_settings, tiny
from tests.test_cli import COMMAND, run

WORDS = "--params", "params.yaml"
IMAGES = 40
STORE = layout.store("lite0")


@pytest.fixture
def visagg(monkeypatch, capsys):
    """Runs the program in this process: words to its status and the lines on its standard error."""

    def visagg(*words):
        monkeypatch.setattr(sys, "argv", ["visagg", *WORDS, *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().err.strip().splitlines()

    return visagg


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_weights):
    """A folder with a catalogue, one of whose images is unreadable, and the store that one run makes of it."""
    folder = tmp_path_factory.mktemp("made")
    bank(folder / "data/catalogue/images.h5", [*(jpeg(seed, 48, 48) for seed in range(IMAGES - 1)), b"no image"])
    small_settings(folder, small_weights, ("engine: auto ", "engine: torch "), ("batch_size: 0 ", "batch_size: 4 "))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cli([*WORDS, "embed", "lite0"], standalone_mode=False)
    return folder


@pytest.fixture
def whole(tmp_path, made, monkeypatch):
    """The bytes of that store; this process is in a copy of the folder that lacks it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    STORE.unlink()
    return (made / STORE).read_bytes()


@pytest.mark.parametrize(("images", "count"), [(0, 1), (0, 3), (1, 1), (1, 4), (7, 3), (40, 40), (1000, 7), (10, 4)])
def test_shares_cover_every_row_once_and_are_as_even_as_can_be(images, count):
    shares = [share(images, index, count) for index in range(1, count + 1)]
    assert np.concatenate(shares).tolist() == list(range(images))
    sizes = [len(rows) for rows in shares]
    assert max(sizes) - min(sizes) <= 1


def test_shards_made_apart_and_merged_are_the_store_of_one_run(whole, visagg):
    for shard in ("1/3", "3/3", "2/3"):
        status, lines = visagg("embed", "lite0", "--shard", shard)
        assert status == 0 and not STORE.exists()
    status, lines = visagg("cache", "merge", "lite0")
    assert status == 0 and STORE.read_bytes() == whole
    assert lines == [
        "cache/embeddings/parts/1-of-3/lite0.h5: 13 rows merged",
        "cache/embeddings/parts/2-of-3/lite0.h5: 13 rows merged",
        "cache/embeddings/parts/3-of-3/lite0.h5: 14 rows merged",
        "cache/embeddings/lite0.h5: no rows wait for their vectors",
    ]
    assert len(parts_of(STORE)) == 3, "they are left as they are"


def test_an_unfinished_part_leaves_its_rows_waiting(whole, visagg, monkeypatch):
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


def test_a_shard_goes_on_where_it_was_interrupted(whole, visagg):
    assert visagg("embed", "lite0", "--shard", "1/2")[0] == 0
    before = (part := part_path(STORE, 1, 2)).read_bytes()
    with open_for_repair(part) as store:
        store.reopen(np.arange(5))
    status, lines = visagg("embed", "lite0", "--shard", "1/2")
    assert status == 0 and part.read_bytes() == before and any("embed: 5 images in" in line for line in lines)


def test_a_part_of_another_backbone_is_refused_with_the_fields_that_differ(whole, visagg):
    part = part_path(STORE, 1, 2)
    embed(Images(layout.CATALOGUE / "images.h5"), [Target("tiny", tiny(), part)], embed_settings())
    status, lines = visagg("cache", "merge", "lite0")
    assert status == 1 and len(lines) == 1
    assert f"{part} does not fit {STORE}: architecture: tiny, not {SMALL}; " in lines[0]
    assert "preprocessing.size: 32, not 224; " in lines[0] and "weights: 0000" in lines[0]
    assert not Embeddings(STORE).status.any()


def test_no_parts_to_merge(whole, visagg):
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
def test_parts_that_make_no_sense_are_a_fault_of_usage(whole, visagg, words):
    status, lines = visagg("embed", "lite0", *words)
    assert status == 2 and lines[-1].startswith("Error: ") and not STORE.parent.joinpath("parts").exists()


def test_processes_give_the_bytes_of_one_and_leave_no_parts(whole, tmp_path):
    done = run(tmp_path, *WORDS, "embed", "lite0", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert STORE.read_bytes() == whole and not STORE.parent.joinpath("parts").exists()
    lines = done.stderr.splitlines()
    for number in (1, 2):
        assert any(line.startswith(f"part {number} of 2: embed: 20 images in ") for line in lines)
    assert lines[-1] == "embed lite0: 1 of 40 images are unreadable"


@pytest.fixture
def threads(monkeypatch):
    """Makes workers threads of this process."""

    @contextlib.contextmanager
    def threads(jobs, scheduler):
        with joblib.parallel_config(backend="threading"):
            yield jobs

    monkeypatch.setattr(parts, "_workers", threads)


@pytest.fixture
def tasks(threads, monkeypatch):
    """The tasks that workers did so far."""
    done, embed_part = [], parts.embed_part
    monkeypatch.setattr(parts, "embed_part", lambda task: done.append(task) or embed_part(task))
    return done


def rows_of(tasks):
    return sorted(row for task in tasks for row in task.rows.tolist())


def test_parts_that_an_interrupted_run_left_are_not_done_again(whole, visagg, tasks):
    for shard in ("1/2", "4/4"):
        assert visagg("embed", "lite0", "--shard", shard)[0] == 0
    assert visagg("embed", "lite0", "--jobs", "2")[0] == 0
    assert rows_of(tasks) == list(range(20, 30)) and len(tasks) == 2
    assert STORE.read_bytes() == whole and not STORE.parent.joinpath("parts").exists()
    assert visagg("embed", "lite0", "--jobs", "2")[0] == 0
    assert len(tasks) == 2, "a finished store needs no workers"


def test_begun_anew_nothing_is_taken_over(whole, visagg, tasks):
    for words in (["--shard", "1/2"], ["--jobs", "2", "--rebuild"]):
        assert visagg("embed", "lite0", *words)[0] == 0
    assert rows_of(tasks) == list(range(IMAGES))
    assert STORE.read_bytes() == whole and not STORE.parent.joinpath("parts").exists()


def test_backbones_that_wait_for_the_same_images_share_a_worker_s_decoding(whole, threads, small_weights, monkeypatch):
    """Others get parts of their own, of what they wait for; more parts than workers where they would be too large."""
    monkeypatch.setattr(parts, "PART_IMAGES", 15)
    loaders = dict.fromkeys("abcd", (SMALL, str(small_weights)))
    opened = open_backbone(*loaders["a"])
    targets = [Target(name, opened, layout.store(name)) for name in loaders]
    catalogue = Images(path := layout.CATALOGUE / "images.h5")
    finished = {"a": [], "b": [1, 5], "c": [], "d": range(IMAGES)}
    for target in targets:
        rows = np.array(finished[target.name], np.int64)
        with open_for_writing(target.path, opened.identity, opened.parameters, catalogue.digests) as store:
            store.write(rows, np.ones((len(rows), opened.width)))
    tasks = []
    monkeypatch.setattr(parts, "embed_part", lambda task: tasks.append(task) or [])
    embed_in_parts(path, targets, loaders, embed_settings(), jobs=2)
    found = {name: [task.rows for task in tasks if set(task.stores) == set(name)] for name in ("ac", "b")}
    assert [len(rows) for rows in found["ac"]] == [13, 13, 14] and [len(rows) for rows in found["b"]] == [12, 13, 13]
    assert np.concatenate(found["ac"]).tolist() == list(range(IMAGES))
    assert np.concatenate(found["b"]).tolist() == [row for row in range(IMAGES) if row not in (1, 5)]
    assert len(tasks) == 6


def die(task):
    os.kill(os.getpid(), 9)


def dawdle(task):
    time.sleep(60)


@pytest.mark.parametrize(
    ("what", "seconds", "said"), [(die, 30.0, "the workers were lost"), (dawdle, 1.0, "took longer than 1 s")]
)
def test_a_worker_that_is_killed_or_never_done_costs_one_line(whole, visagg, monkeypatch, what, seconds, said):
    monkeypatch.setattr(parts, "SECONDS_TO_START", seconds)
    monkeypatch.setattr(parts, "SECONDS_AN_IMAGE", 0.0)
    monkeypatch.setattr(parts, "embed_part", what)
    start = time.monotonic()
    status, lines = visagg("embed", "lite0", "--jobs", "2")
    assert status == 1 and said in lines[-1] and "what is finished is kept" in lines[-1]
    assert time.monotonic() - start < 30 and not any("Traceback" in line for line in lines)


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    words = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**words) as cluster:
        yield cluster


def test_a_dask_cluster_gives_the_bytes_of_one_run(whole, tmp_path, cluster):
    done = run(tmp_path, *WORDS, "embed", "lite0", "--scheduler", cluster.scheduler_address)
    assert done.returncode == 0, done.stderr
    assert STORE.read_bytes() == whole and not STORE.parent.joinpath("parts").exists()
    assert "part 2 of 2: embed: 20 images in " in done.stderr


def test_a_dask_scheduler_that_is_not_there_or_has_no_workers_costs_one_line(whole, visagg, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(parts, "SECONDS_TO_CONNECT", 0.5)
    status, lines = visagg("embed", "lite0", "--scheduler", "tcp://127.0.0.1:9")
    assert status == 1 and lines == ["visagg: no dask scheduler answers at tcp://127.0.0.1:9 (OSError)"]
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        status, lines = visagg("embed", "lite0", "--scheduler", address := empty.scheduler_address)
    said = f"visagg: the dask scheduler at {address} has no workers: start dask worker {address}"
    assert status == 1 and lines == [said]


def test_dask_that_is_not_installed_costs_one_line(whole, visagg, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    status, lines = visagg("embed", "lite0", "--scheduler", "tcp://127.0.0.1:9")
    assert status == 2 and lines == ["visagg: dask is not installed: pip install 'visagg[dask]'"]


@pytest.mark.long
def test_a_dask_worker_that_is_killed_in_the_middle_costs_no_more_than_time(whole, tmp_path, cluster):
    plain = jpeg(0, 48, 48)
    encoded = [plain[:2] + b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big") + plain[2:] for number in range(1200)]
    (tmp_path / "data/catalogue/images.h5").unlink()
    bank(tmp_path / "data/catalogue/images.h5", encoded)
    command = [*COMMAND, *WORDS, "embed", "lite0", "--scheduler", cluster.scheduler_address]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    first = part_path(STORE, 1, 2)
    while not first.exists() or not (Embeddings(first).status == DONE).any():
        time.sleep(0.1)
    os.kill(next(iter(cluster.workers.values())).process.process.pid, 9)
    assert process.wait(300) == 0
    divided = STORE.read_bytes()
    assert run(tmp_path, *WORDS, "embed", "lite0", "--rebuild").returncode == 0
    assert STORE.read_bytes() == divided
