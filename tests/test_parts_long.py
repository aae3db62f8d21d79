"""Stage one in parts, by the program itself, with workers in other processes. Run by hand with -m long."""

import os
import subprocess
import time

import pytest

from pipeline.embed.parts import part_path
from pipeline.embeddings.store import DONE, Embeddings
from pipeline.project import Project
from tests.support.backbones import SMALL
from tests.support.images import bank, jpeg
from tests.support.program import COMMAND, run
from tests.support.settings import ROOT, write_settings

pytestmark = pytest.mark.long

WORDS = "--params", "params.yaml"
IMAGES = 1200


@pytest.fixture
def folder(tmp_path, small_weights):
    """A project whose lite0 is a small backbone, with the same image again and again, another comment in each."""
    plain = jpeg(0, 48, 48)
    encoded = [plain[:2] + b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big") + plain[2:] for number in range(IMAGES)]
    bank(Project(tmp_path).images, encoded)
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
