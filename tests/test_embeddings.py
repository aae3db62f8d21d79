"""The embedding store: what it calls done is right, whatever happened; what is damaged or foreign is refused."""

import os
import socket
import subprocess
import sys
import time
from unittest.mock import Mock

import h5py
import numpy as np
import pytest

from pipeline.core import provenance
from pipeline.core.errors import StageError, StoreError
from pipeline.embeddings import held
from pipeline.embeddings.store import DONE, UNREADABLE, Embeddings
from pipeline.embeddings.writer import open_for_repair, open_for_writing
from tests.support.settings import ROOT

DIM, ROWS = 5, 7
ITEM_BYTES = {"embedding": 2 * DIM, "status": 1, "digest": 16, "crc": 4}
FINGERPRINT = {"weights": "0a1b", "preprocessing": {"size": 224, "mode": "RGB"}, "pooling": "average", "dim": DIM}

# Fills a store again and again, killed at the first write, the second and so on; before it, or when it is half done.
KILLED_WRITER = """
for run in range(32):
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    path, real, calls, (kill_at, half) = Path(sys.argv[1], f"{run}.h5"), os.pwrite, iter(range(1000)), divmod(run, 2)
    def pwrite(handle, content, offset):
        if next(calls) == kill_at:
            half and real(handle, content[: len(content) // 2], offset)
            os.kill(os.getpid(), 9)
        return real(handle, content, offset)
    with opened(path) as store:
        os.pwrite = pwrite
        fill(store)
    path.with_suffix(".survived").touch()
    os._exit(0)
"""
HOLDER = "with opened(Path(sys.argv[1])): print('held', flush=True), sys.stdin.read()"


def digests(names):
    return np.array([list(provenance.digest(str(name).encode())) for name in names], np.uint8).reshape(-1, 16)


def vectors(names):
    """The vector of each image: known from its name alone."""
    return np.array([np.random.default_rng(name).normal(0, 3, DIM) for name in names]).reshape(-1, DIM)


def opened(path, names=range(ROWS), rebuild=False, **changes):
    return open_for_writing(path, {**FINGERPRINT, **changes}, digests(names), parameters=4_200_000, rebuild=rebuild)


def fill(store, names=range(ROWS), batches=((0, 1, 2), (4, 6)), unreadable=(3, 5)):
    for batch in batches:
        rows = np.array([row for row in batch if row in store.pending()], np.int64)
        store.write(rows, vectors([names[row] for row in rows]))
    store.write_unreadable(np.array([row for row in unreadable if row in store.pending()], np.int64))


@pytest.fixture
def store(tmp_path):
    """A finished store: rows 3 and 5 unreadable, the others done."""
    with opened(path := tmp_path / "cache" / "lite0.h5") as writer:
        fill(writer)
    return path


def assert_right(stored, rows, names=range(ROWS)):
    """That rows hold the vectors of their images."""
    read = stored.read(np.array(rows, np.int64))
    assert read.dtype == np.float16 and (read == vectors([names[row] for row in rows]).astype(np.float16)).all()


def spawn(script, *arguments, **options):
    """Runs a script in another process, with all that this module defines at hand."""
    code = f"from pathlib import Path\nfrom {__name__} import *\n{script}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, cwd=ROOT, **options)


def damage(path, name, row, byte):
    """Flips a bit of one row of a dataset."""
    offset = Embeddings(path).offsets[name] + row * ITEM_BYTES[name] + byte
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def test_vectors_come_back_in_float16_and_belong_to_their_images(store):
    stored = Embeddings(store)
    assert (len(stored), stored.dim, stored.fingerprint, stored.parameters) == (ROWS, DIM, FINGERPRINT, 4_200_000)
    assert stored.images_digest() == provenance.digest_images(digests(range(ROWS)))
    for rows in ([0, 1, 2, 4, 6], [6, 0, 4, 0], [2], []):
        assert_right(stored, rows)


@pytest.mark.parametrize("kept", [[], [4, 1, 6], [0, 1, 2, 4, 6]])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4], [2, 2, 3, 0, 1], [0, 2, 4, 5], [4], []])
def test_what_is_gathered_is_what_lies_there_though_it_comes_piece_by_piece(rows, kept, store, monkeypatch):
    stored, preadv = Embeddings(store), os.preadv
    for some in (kept[:2], kept):  # some are held already
        stored.hold(np.array(some, np.int64), stored.read(np.array(some, np.int64)))
    monkeypatch.setattr(os, "preadv", lambda file, parts, offset: preadv(file, [parts[0][:3]], offset))
    gathered = stored.gather(np.array(rows, np.int64))
    assert gathered.shape == (len(rows), DIM)
    for row, vector in zip(rows, gathered, strict=True):
        np.testing.assert_array_equal(vector, stored.peek(row))


def test_no_more_is_held_than_there_is_room_for(store, monkeypatch):
    monkeypatch.setattr(held, "MOST_BYTES", 2 * 2 * DIM)
    stored, asked, preadv = Embeddings(store), [], os.preadv
    for rows in ([4, 1], [4, 1, 6]):
        stored.hold(np.array(rows), stored.read(np.array(rows)))
    monkeypatch.setattr(os, "preadv", lambda file, parts, offset: asked.append(offset) or preadv(file, parts, offset))
    stored.gather(np.array([1, 4, 1, 6]))
    assert asked == [stored.offsets["embedding"] + 6 * 2 * DIM]


def test_a_file_that_is_cut_or_fails_after_it_was_opened_is_refused(store, monkeypatch):
    stored = Embeddings(store)
    monkeypatch.setattr(os, "preadv", Mock(side_effect=OSError(5, "Input/output error")))
    with pytest.raises(StoreError, match="cannot be read: Input/output error"):
        stored.gather(np.array([1]))
    monkeypatch.undo()
    os.truncate(store, stored.offsets["embedding"] + 3 * 2 * DIM + 1)
    assert len(stored.gather(np.array([0, 1, 2]))) == 3
    with pytest.raises(StoreError, match="has become shorter"):
        stored.gather(np.array([2, 3]))


def test_a_reopened_store_asks_for_the_rest_alone(tmp_path):
    path = tmp_path / "lite0.h5"
    with opened(path) as store:
        assert store.pending().tolist() == list(range(ROWS))
        fill(store, batches=[(1, 2, 5)], unreadable=[4])
    with opened(path) as store:
        assert store.pending().tolist() == [0, 3, 6]
        assert (store.count(DONE), store.count(UNREADABLE)) == (3, 1)
    assert_right(stored := Embeddings(path), [5, 1])
    assert stored.unreadable().tolist() == [4] and not len(stored.damaged())
    for row in (3, 4):  # pending; unreadable
        with pytest.raises(StoreError, match=r"lite0\.h5 is unfinished: run visagg embed lite0"):
            stored.read(np.array([1, row]))


def test_order_interruptions_and_writes_cut_short_leave_no_trace_in_the_file(store, monkeypatch):
    time.sleep(1.1)  # HDF5 counts time in seconds, where it does
    other, real = store.with_name("other.h5"), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, offset: real(handle, content[:7], offset))
    for batches, unreadable in ([[(6,)], []], [[(1, 4), (0,)], [5]], [[(2,)], [3]]):
        with opened(other) as writer:
            fill(writer, batches=batches, unreadable=unreadable)
    assert other.read_bytes() == store.read_bytes()


def test_a_kill_at_any_write_loses_nothing_and_leaves_nothing_wrong(tmp_path, store):
    assert spawn(KILLED_WRITER, tmp_path).wait() == 0
    assert len([*tmp_path.glob("*.survived")]) <= 6  # of 32: where there was no such write any more
    for path in tmp_path.glob("*.h5"):
        stored = Embeddings(path)
        assert_right(stored, np.flatnonzero(stored.status == DONE))
        assert set(stored.unreadable()) <= {3, 5}
        if int(path.stem) % 4 > 1:  # some of them are first carried over, there and back
            with opened(path, range(ROWS)[::-1]) as writer:
                assert (ROWS - 1 - writer.pending()[::-1] == np.flatnonzero(stored.status == 0)).all()
        with opened(path) as writer:
            fill(writer)
        assert path.read_bytes() == store.read_bytes()


def test_vectors_reach_the_disk_before_their_status(tmp_path, monkeypatch):
    """A power cut keeps what was synced, and of the rest anything."""
    events, real_write, real_sync = [], os.pwrite, os.fdatasync
    with opened(tmp_path / "a.h5") as store:
        starts = Embeddings(tmp_path / "a.h5").offsets
        names = {starts[name] + 2 * size: name for name, size in ITEM_BYTES.items()}
        monkeypatch.setattr(os, "pwrite", lambda *a: (events.append(names[a[2]]), real_write(*a))[1])
        monkeypatch.setattr(os, "fdatasync", lambda handle: (events.append("sync"), real_sync(handle))[1])
        store.write(np.array([2, 3]), vectors([2, 3]))
    assert sorted(events[:2]) == ["crc", "embedding"] and events[2:] == ["sync", "status", "sync"]


def test_another_fingerprint_is_refused_with_every_field_that_differs(store):
    before = store.read_bytes()
    sharper = {"size": 240, "mode": "RGB"}
    with pytest.raises(StoreError) as caught, opened(store, [1], weights="ffff", preprocessing=sharper, layer=3):
        pass
    fields = "layer: None, not 3; preprocessing.size: 224, not 240; weights: 0a1b, not ffff"
    assert str(caught.value).startswith(f"{store} was made otherwise ({fields})")
    assert store.read_bytes() == before
    with opened(store, weights="ffff", rebuild=True) as writer:
        assert len(writer.pending()) == ROWS


@pytest.mark.parametrize("names", [[*range(ROWS), 8, 9], [0, 2, 6], [1, 0, 2, 3, 4, 5, 6], [9, 6, 8, 2], [20, 21]])
def test_vectors_follow_their_images_into_another_catalogue(store, names):
    with opened(store, names) as writer:
        assert writer.pending().tolist() == [row for row, name in enumerate(names) if name >= ROWS]
        fill(writer, names, batches=[writer.pending()], unreadable=[])
    stored = Embeddings(store)
    assert (stored.digests == digests(names)).all() and stored.fingerprint == FINGERPRINT
    assert stored.unreadable().tolist() == [row for row, name in enumerate(names) if name in (3, 5)]
    assert_right(stored, np.flatnonzero(stored.status == DONE), names)


def test_another_store_s_rows_are_taken_over_where_nothing_is_here_yet(tmp_path, store, monkeypatch):
    """Its damaged and pending rows are not, nor is what has a verdict here; the other store is as it was."""
    damage(store, "embedding", 2, 3)
    damage(store, "crc", 5, 0)  # of an unreadable one
    with open_for_repair(store) as writer:
        writer.reopen(np.array([6]))
    monkeypatch.setattr("pipeline.embeddings.writer.BLOCK", 2)
    before, names = store.read_bytes(), [9, 6, 5, 4, 3, 2, 1, 0, 8]
    with opened(path := tmp_path / "b.h5", names) as writer:
        writer.write(np.array([7]), np.full((1, DIM), 7.0))  # image 0, otherwise than there
        writer.write_unreadable(np.array([3]))  # image 4, which has a vector there
        assert writer.copy_from(Embeddings(store)) == 2
        assert writer.pending().tolist() == [0, 1, 2, 5, 8]
        assert writer.copy_from(Embeddings(store)) == 0
    stored = Embeddings(path)
    assert_right(stored, [6], names)
    assert stored.unreadable().tolist() == [3, 4] and (stored.read(np.array([7])) == 7).all()
    assert store.read_bytes() == before and not len(stored.damaged())


def test_a_store_of_another_fingerprint_is_not_taken_over(tmp_path, store):
    with opened(path := tmp_path / "b.h5", weights="ffff", layer=3) as writer:
        with pytest.raises(StoreError) as caught:
            writer.copy_from(Embeddings(store))
        assert len(writer.pending()) == ROWS
    assert str(caught.value) == f"{store} does not fit {path}: layer: None, not 3; weights: 0a1b, not ffff"


@pytest.mark.parametrize(("name", "byte"), [("embedding", 0), ("embedding", 9), ("digest", 15), ("crc", 2)])
@pytest.mark.parametrize("row", [0, 4, 6])
def test_a_flipped_bit_is_found_and_its_row_named(store, name, byte, row):
    damage(store, name, row, byte)
    with pytest.raises(StoreError, match=f"1 rows are damaged, the first is {row}"):
        Embeddings(store).read(np.array([6, 4, 2, 1, 0]))
    assert_right(Embeddings(store), [other for other in (0, 1, 2, 4, 6) if other != row])
    assert Embeddings(store).damaged().tolist() == [row]
    with opened(store, [0, 1, 2, 4, 6, 3]) as writer:  # nor is it carried over into another catalogue
        assert (writer.count(DONE), writer.count(UNREADABLE)) == (4, 1)


def test_swapped_rows_and_false_claims_are_found_and_can_be_reopened(store):
    with h5py.File(store, "r+") as file:
        for name in ("embedding", "crc"):
            file[name][0], file[name][4] = file[name][4], file[name][0]
        file["status"][3], file["status"][6] = DONE, UNREADABLE  # one without a vector; and one that has it
    damage(store, "digest", 5, 1)
    with pytest.raises(StoreError, match="3 rows are damaged, the first is 0"):
        (stored := Embeddings(store)).read(np.array([0, 1, 2, 3, 4]))
    with pytest.raises(StoreError, match="2 rows are damaged, the first is 5"):
        stored.unreadable()
    with open_for_repair(store) as writer:
        writer.reopen(stored.damaged())
    assert Embeddings(store).status.tolist() == [0, DONE, DONE, 0, 0, 0, 0] and not len(Embeddings(store).damaged())


@pytest.mark.parametrize("kind", ["half", "header", "empty", "html", "other"])
def test_what_is_no_whole_store_is_refused(store, kind):
    whole = store.read_bytes()
    with h5py.File(store, "w") as file:
        file["digest"] = digests([1])
    parts = {"half": whole[: len(whole) // 2], "header": whole[:100], "empty": b"", "html": b"<html>" * 2000}
    store.write_bytes(before := parts.get(kind, store.read_bytes()))
    with pytest.raises(StoreError, match=r"damaged or no embedding store .*: embed with --rebuild"):
        Embeddings(store)
    with pytest.raises(StoreError, match="damaged or no embedding store"), opened(store):
        pass
    assert store.read_bytes() == before


def test_a_second_writer_is_refused_and_told_who_writes_until_that_one_is_gone(store):
    holder = spawn(HOLDER, store, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StageError, match=f"process {holder.pid} on {socket.gethostname()}"), opened(store, [1, 2]):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with opened(store) as writer:  # the lock's file is still there, and nobody holds it
        assert writer.count(DONE) == 5 and not len(writer.pending())


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e6])
def test_vectors_that_float16_or_the_store_cannot_hold_are_refused(tmp_path, wrong):
    with opened(tmp_path / "a.h5") as store:
        before, batch = (tmp_path / "a.h5").read_bytes(), vectors([1, 2])
        batch[1, 3] = wrong
        for refused in (batch, vectors([1, 2])[:, 1:], vectors([1])):
            with pytest.raises(StoreError):
                store.write(np.array([1, 2]), refused)
        assert store.pending().tolist() == list(range(ROWS))
    assert (tmp_path / "a.h5").read_bytes() == before


def test_a_full_disk_is_met_at_the_start_and_changes_nothing(tmp_path, store, monkeypatch):
    before, path = store.read_bytes(), tmp_path / "new" / "lite0.h5"
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(28, "No space left on device")))
    for new_or_growing in (path, store):
        with pytest.raises(OSError, match="No space left"), opened(new_or_growing, range(50)):
            pass
    assert store.read_bytes() == before and not path.exists() and not [*tmp_path.rglob("*partial*")]
