"""Stage one in parts, by the program itself, with workers in other processes. Run by hand with -m long and -s.

The figures that it prints of many images belong in reports/evidence.md; these take some eight minutes of two cores.
"""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.embed.parts import part_path
from pipeline.embeddings.store import DONE, Embeddings
from pipeline.project import Project
from tests.support.backbones import SMALL
from tests.support.cluster import VISAGG, Cluster, Machine, Running, cluster, machines, rows_done
from tests.support.images import bank, jpeg
from tests.support.program import COMMAND, run
from tests.support.settings import ROOT, write_settings

pytestmark = pytest.mark.long

WORDS = "--params", "params.yaml"
IMAGES = 1200
MANY = 100_000


def commented(plain: bytes, count: int) -> list[bytes]:
    """The same JPEG again and again, another comment in each."""
    return [plain[:2] + b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big") + plain[2:] for number in range(count)]


@pytest.fixture
def folder(tmp_path, small_weights):
    """A project whose lite0 is a small backbone, with the same image again and again, another comment in each."""
    bank(Project(tmp_path).images, commented(jpeg(0, 48, 48), IMAGES))
    small = {"model": SMALL, "weights": str(small_weights)}
    write_settings(tmp_path / "params.yaml", {"backbones.lite0": small, "embed.engine": "torch", "embed.batch_size": 4})
    return tmp_path


def embedded(folder, *words) -> bytes:
    """The store's bytes after a run that begins anew."""
    assert run(folder, *WORDS, "embed", "lite0", "--rebuild", *words).returncode == 0
    return Project(folder).store("lite0").read_bytes()


def test_processes_give_the_bytes_of_one(folder):
    assert embedded(folder, "--jobs", "2") == embedded(folder)


def test_a_dask_worker_that_is_killed_in_the_middle_costs_no_more_than_time(folder):
    distributed = pytest.importorskip("distributed")
    store = Project(folder).store("lite0")
    words = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**words) as cluster:
        command = [*COMMAND, *WORDS, "embed", "lite0", "--scheduler", cluster.scheduler_address]
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
        first = part_path(store, 1, 2)
        while process.poll() is None and (not first.exists() or not (Embeddings(first).status == DONE).any()):
            time.sleep(0.02)
        assert process.poll() is None, "too few images for this machine"
        os.kill(next(iter(cluster.workers.values())).process.process.pid, 9)
        assert process.wait() == 0
    divided = store.read_bytes()
    assert embedded(folder) == divided


class Many:
    """A project of many small images, whose backbone has two layers, and the machines that embed them."""

    def __init__(self, folder: Path, client: Machine, head: Machine, others: list[Machine]):
        self.folder, self.store = folder, Project(folder).store("lite0")
        self._client, self._head, self._others, self._started = client, head, others, []
        bank(Project(folder).images, commented(jpeg(0, 32, 32), MANY))
        quick = {"engine": "torch", "precision": "float32", "batch_size": 256, "threads": 1}
        write_settings(folder / "params.yaml", {f"embed.{name}": value for name, value in quick.items()})

    def embed(self, *words: str) -> Running:
        """Starts the program."""
        self._started.append(run := self._client.start([*VISAGG, *WORDS, "embed", "lite0", *words], self.folder))
        return run

    def end(self) -> None:
        """Kills what a test that failed left running."""
        for process in self._started:
            process.kill()

    def cluster(self):
        """A cluster with a worker on each of four machines."""
        return cluster(self._head, self._others)

    def wait(self, run: Running, opened: Cluster | None = None, *, rows: int | None = None) -> str:
        """Until the program has ended, or so many rows are done; returns what it said."""
        while run.look() and (rows is None or rows_done(self.store) < rows):
            if opened:
                opened.look()
            time.sleep(0.5 if rows else 0.1)
        assert rows is None or run.look(), f"too soon:\n{run.said.read_text()}"
        return run.said.read_text()


@pytest.fixture
def many(tmp_path):
    (folder := tmp_path / "project").mkdir()
    with machines(tmp_path, 6) as (client, head, *others):
        print(f"\nmachines with networks of their own: {'yes' if client.prefix else 'no'}; {MANY:,} images")
        yield (made := Many(folder, client, head, others))
        made.end()


def test_four_machines_and_many_images(many):
    """One process; four machines, one of them killed; the scheduler killed, and a rerun with another."""
    pytest.importorskip("distributed")
    alone = many.embed()
    said = many.wait(alone)
    print(f"one process: {alone}", flush=True)
    assert alone.process.returncode == 0, said
    whole = many.store.read_bytes()
    many.store.unlink()

    with many.cluster() as opened:
        run = many.embed("--scheduler", opened.address)
        many.wait(run, opened, rows=MANY // 3)
        opened.workers[0].kill()
        said = many.wait(run, opened)
        print(f"a worker killed at a third: {run}\n{opened}", flush=True)
    assert run.process.returncode == 0, said
    assert many.store.read_bytes() == whole
    many.store.unlink()

    with many.cluster() as opened:
        run = many.embed("--scheduler", opened.address)
        many.wait(run, opened, rows=MANY // 3)
        opened.scheduler.kill()
        lines = many.wait(run).splitlines()
    kept = rows_done(many.store)
    print(f"the scheduler killed at a third: {run}; {kept:,} rows kept\n  {lines[-1]}", flush=True)
    assert run.process.returncode == 1
    assert [line for line in lines if line.startswith("visagg: ")] == lines[-1:]
    assert "was lost" in lines[-1] and "Traceback" not in "".join(lines)
    assert kept >= MANY // 3

    with many.cluster() as opened:
        run = many.embed("--scheduler", opened.address)
        said = many.wait(run, opened)
        print(f"and again: {run}\n{opened}", flush=True)
    assert run.process.returncode == 0, said
    assert sum(map(int, re.findall(r"embed: (\d+) images in", said))) == MANY - kept
    assert many.store.read_bytes() == whole
