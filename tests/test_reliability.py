"""Stage one against kills, full disks, other writers, changed catalogues and damage.

Here kills meet a backbone of two layers at the pace of a real one; test_reliability_long.py has the real one. Kills at
every write of the store are in test_embeddings.py.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalogue.images import Images
from pipeline.core.progress import Notes
from pipeline.embed.stream import RunOptions, embed
from pipeline.embed.target import Target
from pipeline.embeddings.store import DONE, PENDING, Embeddings, checksums
from pipeline.embeddings.writer import open_for_repair
from pipeline.project import Project
from tests.support.backbones import tiny
from tests.support.extraction import Extraction, kill_until_finished, program, uninterrupted, with_tiny_backbones
from tests.support.images import bank, jpeg, write_table_source
from tests.support.program import call, failed
from tests.support.settings import embed_settings, write_settings

STORE = Project().store("lite0")
QUICK = {"embed.engine": "torch", "embed.precision": "float32", "embed.batch_size": 8}


@pytest.fixture
def slow(project) -> Extraction:
    """An extraction of a hundred images that is some seconds under way."""
    bank(Project(project).images, [jpeg(seed, 32, 32) for seed in range(100)])
    return Extraction(project, batch=8, pause=0.08)


def test_random_kills_lose_nothing_and_cost_no_more_than_is_in_flight(slow):
    whole = uninterrupted(slow)
    kills = kill_until_finished(slow, whole, wait=0.2, kills=2)
    assert kills >= 1 and slow.repeated(whole) <= slow.in_flight * kills
    assert slow.store.read_bytes() == whole.path.read_bytes()


def test_a_second_writer_is_told_who_holds_the_store_and_a_dead_one_is_no_obstacle(slow):
    words = *write_settings(slow.folder / "params.yaml", QUICK), "embed", "lite0"
    holder = slow.start()
    while not (slow.status() == DONE).any():
        time.sleep(0.01)
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        line = failed(program(slow.folder, *words), f"process {holder.pid} on ")
        assert "is being written by" in line
    finally:
        holder.kill()
        holder.join()
    assert (slow.status() == PENDING).any()
    assert program(slow.folder, *words).returncode == 0
    assert (slow.status() == DONE).all()


def test_a_full_disk_at_every_size(project):
    """On a disk of nothing, or with too little for a new catalogue, it costs one line and leaves nothing."""
    words = *write_settings(project / "params.yaml", QUICK), "embed", "lite0"
    bank(Project(project).images, [jpeg(seed, 32, 32) for seed in range(100)])
    disk = project / "cache"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a small disk")
    try:
        failed(program(project, *words), "the disk is full")
        assert not (project / STORE).exists() and not list(disk.rglob("*.partial"))
        subprocess.run(["mount", "-o", "remount,size=128k", disk], check=True)
        assert program(project, *words).returncode == 0
        before = (project / STORE).read_bytes()
        bank(Project(project).images, [jpeg(seed, 16, 16) for seed in range(900)])
        failed(program(project, *words), "the disk is full")
        assert (project / STORE).read_bytes() == before, "the older store is as good as before"
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        failed(program(project, *words), "Read-only file system")
        assert (project / STORE).read_bytes() == before
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_changed_catalogue_costs_what_is_new(project):
    """Items added, removed and re-ordered: vectors follow their images, and only new images are embedded."""
    extraction, path = Extraction(project), Project(project).images
    first, new = [jpeg(seed) for seed in range(40)], [jpeg(seed) for seed in range(100, 103)]
    bank(path, first)
    extraction.run()
    old = Embeddings(extraction.store)
    rows = {digest.tobytes(): row for row, digest in enumerate(old.digests)}
    assert extraction.embedded() == 40
    images = bank(path, [*new[:2], *first[30:], *first[:25], new[2]])
    extraction.run()
    assert extraction.embedded() == 43
    store = Embeddings(extraction.store)
    assert np.array_equal(store.digests, images.digests) and (store.status == DONE).all()
    carried = [row for row, digest in enumerate(store.digests) if digest.tobytes() in rows]
    assert len(carried) == 35
    assert np.array_equal(store.read(carried), old.read([rows[store.digests[row].tobytes()] for row in carried]))
    before = extraction.store.stat().st_mtime_ns
    extraction.run()
    assert extraction.embedded() == 43 and extraction.store.stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A project of a table's items with a finished store, and its bytes."""
    folder = tmp_path_factory.mktemp("shop")
    write_table_source(folder / "source", images=20, users=60)
    changes = {"source": {"name": "table", "path": "source"}, "sets.least_items": 1, **QUICK}
    write_settings(folder / "params.yaml", changes)
    with with_tiny_backbones():
        for words in (["ingest"], ["sets"], ["embed", "lite0"]):
            assert call(folder, "--params", "params.yaml", *words).returncode == 0
    return folder, (folder / STORE).read_bytes()


@pytest.fixture
def visagg(shop):
    """Runs the program on the shop; its store is whole again afterwards."""
    folder, whole = shop

    def visagg(*words: str) -> subprocess.CompletedProcess:
        return call(folder, "--params", "params.yaml", *words)

    with with_tiny_backbones():
        yield visagg
    (folder / STORE).write_bytes(whole)


def flip(path: Path, offset: int) -> None:
    """Flips two bits of the byte at an offset."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 3
    path.write_bytes(content)


def test_damage_is_named_refused_by_training_and_mended(shop, visagg):
    """From the command line: verify names rows and items, training refuses, repair and embed restore the bytes."""
    path, whole = shop[0] / STORE, shop[1]
    store = Embeddings(path)
    flip(path, store.offsets["embedding"] + 6 * 2 * store.dim + 7)
    refusal = ("1 rows are damaged, the first is 6", "visagg cache verify lite0 --repair")
    failed(visagg("train", "lite0", "average"), *refusal)
    flip(path, store.offsets["status"] + 11)
    verified = visagg("cache", "verify", "lite0")
    assert verified.returncode == 1
    assert verified.stdout.splitlines() == [
        "lite0 row 6 (items i6): its checksum does not agree",
        "lite0 row 11 (items i11): its checksum does not agree",
        "2 faulty rows",
    ]
    failed(visagg("train", "lite0", "average"), "1 rows are damaged, the first is 11")
    repaired = visagg("cache", "verify", "lite0", "--repair")
    assert repaired.returncode == 0 and repaired.stdout.endswith("2 faulty rows made pending: run visagg embed\n")
    assert "done 18  pending 2  unreadable 0" in visagg("cache", "ls").stdout
    assert visagg("embed", "lite0").returncode == 0
    assert path.read_bytes() == whole
    assert visagg("cache", "verify", "lite0", "--sample", "20").stdout == "0 faulty rows\n"


def test_a_wrong_vector_with_a_right_checksum_shows_when_its_image_is_embedded_anew(shop, visagg):
    path = shop[0] / STORE
    with open_for_repair(path) as writer:
        writer.write(np.array([2]), Embeddings(path).read([3]))
    assert visagg("cache", "verify", "lite0").returncode == 0
    verified = visagg("cache", "verify", "lite0", "--sample", "20")
    row, count = verified.stdout.splitlines()
    assert verified.returncode == 1 and count == "1 faulty row"
    assert row.startswith("lite0 row 2 (items i2): embedded anew it is another vector (cosine ")
    flip(path, Embeddings(path).offsets["crc"] + 4 * 2)
    verified = visagg("cache", "verify", "lite0", "--sample", "20")
    assert verified.stdout.splitlines() == ["lite0 row 2 (items i2): its checksum does not agree", "1 faulty row"]


def test_a_vector_of_no_numbers_is_no_vector_of_its_image(shop, visagg):
    path = shop[0] / STORE
    store = Embeddings(path)
    vector = np.full((1, store.dim), np.nan, np.float16)
    crc = checksums(vector, store.digests[[5]])
    with path.open("r+b") as file:
        for name, row in (("embedding", vector), ("crc", crc)):
            file.seek(store.offsets[name] + 5 * row.nbytes)
            file.write(row.tobytes())
    for words in ([], ["--sample", "20"]):
        verified = visagg("cache", "verify", "lite0", *words)
        assert verified.returncode == 1
        assert verified.stdout.splitlines() == ["lite0 row 5 (items i5): its vector is not finite", "1 faulty row"]
    failed(visagg("train", "lite0", "average"), "1 rows are damaged, the first is 5", "cache verify lite0 --repair")
    assert visagg("cache", "verify", "lite0", "--repair").stdout.endswith(
        "1 faulty row made pending: run visagg embed\n"
    )
    assert visagg("embed", "lite0").returncode == 0
    assert path.read_bytes() == shop[1]


def test_a_store_of_another_catalogue_is_left_to_embed_and_an_image_that_changed_is_named(shop, visagg):
    folder, whole = shop
    path, images = folder / STORE, Project(folder).images
    catalogue = images.read_bytes()
    encoded = [Images(images).read(row) for row in range(20)]
    bank(images, [*encoded[:3], jpeg(99), *encoded[4:]])
    verified = visagg("cache", "verify", "lite0")
    assert verified.returncode == 1
    assert verified.stdout.splitlines() == ["lite0 row 3 (items i3): it belongs to another image", "1 faulty row"]
    bank(images, encoded[::-1])
    failed(visagg("cache", "verify", "lite0"), "is of another catalogue: run visagg embed lite0")
    images.write_bytes(catalogue)
    assert path.read_bytes() == whole


def test_rebuilding_replaces_the_store_of_another_backbone(shop, visagg):
    path, whole = shop[0] / STORE, shop[1]
    path.unlink()
    embed(Images(Project(shop[0]).images), [Target("lite0", tiny(48), path)], RunOptions(embed_settings(), Notes()))
    failed(visagg("embed", "lite0"), "preprocessing.size: 48, not 32", "--rebuild")
    assert visagg("embed", "lite0", "--rebuild").returncode == 0
    assert path.read_bytes() == whole
