"""Stores that someone else wrote, with right checksums: what is no store of this program, or no vector, is refused."""

import json
import resource
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.core.errors import StoreError
from pipeline.embed.verify import describe
from pipeline.embeddings.store import DONE, SEAL, UNREADABLE, Embeddings, _seal, checksums, finite
from pipeline.embeddings.writer import open_for_repair
from tests.test_embeddings import DIM, FINGERPRINT, ROWS, assert_right, digests, fill, opened, vectors

CONTENT = {
    "embedding": np.ones((ROWS, DIM), np.float16),
    "status": np.zeros(ROWS, np.uint8),
    "digest": digests(range(ROWS)),
    "crc": np.zeros(ROWS, np.uint32),
}
ATTRIBUTES = {"fingerprint": json.dumps(FINGERPRINT), "parameters": 7}


@pytest.fixture
def store(tmp_path):
    with opened(path := tmp_path / "lite0.h5") as writer:
        fill(writer)
    return path


def put(path, row, vector=None, status=None):
    """Writes a row in the file behind the program's back, with the checksum that belongs to it."""
    stored = Embeddings(path)
    with path.open("r+b") as file:

        def write(name, value):
            file.seek(stored.offsets[name] + row * value.nbytes)
            file.write(value.tobytes())

        if status is not None:
            write("status", np.uint8(status))
        if vector is not None:
            write("embedding", np.float16(vector))
            write("crc", checksums(np.float16([vector]), stored.digests[[row]])[0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -np.nan])
def test_a_vector_that_is_not_finite_is_neither_served_nor_carried_over(store, wrong):
    vector = vectors([2])[0]
    vector[3] = wrong
    put(store, 2, vector)
    stored = Embeddings(store)
    assert stored.damaged().tolist() == [2] and stored.fault(2) == "its vector is not finite"
    with pytest.raises(StoreError, match=r"1 rows are damaged, the first is 2: run visagg cache verify"):
        stored.read(np.arange(3))
    assert_right(stored, [0, 1, 4, 6])
    with opened(store.with_name("other.h5")) as writer:
        assert writer.copy_from(stored) == ROWS - 1 and writer.pending().tolist() == [2]
    with opened(store, [6, 2, 0]) as writer:  # another catalogue
        assert writer.pending().tolist() == [1]


def test_a_vector_of_zeros_is_one_of_numbers(store):
    """A backbone that ends in a rectifier may give one; nothing else does, since a row without a vector is pending."""
    put(store, 2, np.zeros(DIM))
    assert not len(Embeddings(store).damaged()) and not Embeddings(store).read(np.array([2])).any()


def test_every_float16_is_finite_or_not_as_numpy_says():
    every = np.arange(1 << 16).astype(np.uint16).view(np.float16)
    assert (finite(every[:, None]) == np.isfinite(every)).all()
    assert [finite(every[[number]][:, None])[0] for number in range(1 << 16)] == np.isfinite(every).tolist()
    assert finite(np.empty((0, 3), np.float16)).tolist() == []


@pytest.mark.parametrize("status", [3, 0x11, 255])
def test_a_status_that_there_is_not_costs_its_row_and_no_other(store, status):
    put(store, 2, status=status)
    stored = Embeddings(store)
    assert stored.damaged().tolist() == [2] and stored.fault(2) == "its status makes no sense"
    assert_right(stored, [0, 1, 4, 6])
    with pytest.raises(StoreError, match="1 rows are damaged, the first is 2"):
        stored.read(np.arange(3))
    with open_for_repair(store) as writer:
        writer.reopen(stored.damaged())
    with opened(store) as writer:
        assert writer.pending().tolist() == [2]


def by_hand(path, *, attributes=(), **datasets):
    """A store with some of its attributes and datasets replaced, all of it under a right seal."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs.update({**ATTRIBUTES, **dict(attributes)})
        for name, content in {**CONTENT, **datasets}.items():
            content(file, name) if callable(content) else file.create_dataset(name, data=content)
        file.flush()
    with h5py.File(path, "r") as file:
        found = [file[name] for name in CONTENT if name in file and isinstance(file[name], h5py.Dataset)]
        sizes = [(d.id.get_offset(), d.id.get_storage_size()) for d in found]
        pieces = [(offset, size) for offset, size in sizes if offset is not None and size]
    size = path.stat().st_size
    start, stop = min((start for start, _ in pieces), default=size), max((sum(piece) for piece in pieces), default=size)
    with path.open("r+b") as file:
        line = _seal(file, start, min(stop, size))
        file.seek(0)
        file.write(line)
    return path


def made(**words):
    """A function that makes a dataset, of some or no rows, in another way."""
    return lambda file, name: file.create_dataset(name, **{"data": CONTENT[name], **words})


def elsewhere(file, name):
    """A dataset whose bytes are those of another file."""
    other = Path(file.filename + ".other")
    other.write_bytes(b"\1" * 4096)
    file.create_dataset(name, CONTENT[name].shape, CONTENT[name].dtype, external=[(str(other), 0, 4096)])


def virtual(file, name):
    with h5py.File(file.filename + ".source", "w") as source:
        source[name] = CONTENT[name]
    layout = h5py.VirtualLayout(CONTENT[name].shape, CONTENT[name].dtype)
    layout[:] = h5py.VirtualSource(file.filename + ".source", name, CONTENT[name].shape)
    file.create_virtual_dataset(name, layout)


def linked(file, name):
    file["other"] = CONTENT[name]
    file[name] = h5py.SoftLink("/other")


def linked_outside(file, name):
    with h5py.File(file.filename + ".source", "w") as source:
        source[name] = CONTENT[name]
    file[name] = h5py.ExternalLink(file.filename + ".source", name)


def absent(file, name):
    pass


def folder(file, name):
    file.create_group(name)


def endless(file, name):
    """A dataset that claims far more than the file has."""
    shape = (1 << 40, *CONTENT[name].shape[1:])
    file.create_dataset(name, shape, CONTENT[name].dtype)


WAYS = {
    "chunked": made(chunks=True),
    "compressed": made(compression="gzip"),
    "of another type": made(dtype=np.float32),
    "of the other byte order": lambda file, name: file.create_dataset(name, data=CONTENT[name].astype(">i2")),
    "of objects": lambda file, name: file.create_dataset(name, data=[b"a"] * ROWS, dtype=h5py.string_dtype()),
    "with a row less": lambda file, name: file.create_dataset(name, data=CONTENT[name][1:]),
    "with no rows": lambda file, name: file.create_dataset(name, data=CONTENT[name][:0]),
    "of one number": lambda file, name: file.create_dataset(name, data=CONTENT[name].flat[0]),
    "of three dimensions": lambda file, name: file.create_dataset(name, data=CONTENT[name].reshape(1, ROWS, -1)),
    **{way.__name__: way for way in (elsewhere, virtual, linked, linked_outside, absent, folder, endless)},
}


def assert_refused(path):
    for reading in (lambda: Embeddings(path), lambda: opened(path).__enter__()):
        with pytest.raises(StoreError, match="is damaged or no embedding store") as caught:
            reading()
        assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 600
    assert "no embedding store" in describe(path)["fault"]


def test_a_store_made_by_hand_as_the_program_makes_it_is_read(tmp_path):
    stored = Embeddings(by_hand(tmp_path / "a.h5"))
    assert (stored.digests == digests(range(ROWS))).all() and stored.parameters == 7 and stored.dim == DIM
    assert describe(tmp_path / "a.h5")["model"] == "unknown"


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("way", WAYS)
def test_a_dataset_that_is_otherwise_is_refused_and_no_other_file_is_read(tmp_path, name, way):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_refused(by_hand(tmp_path / "a.h5", **{name: WAYS[way]}))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (1 << 18)


@pytest.mark.parametrize(
    "attributes",
    [
        *({"fingerprint": text} for text in ("", "[]", "7", "null", '"dim"', "{}", "{", '{"dim": null}', '{"dim": 6}')),
        *({"fingerprint": text} for text in ("[" * 30_000, '{"a":' * 9000, '{"dim": 1e999}', "9" * 9000)),
        {"fingerprint": 5},
        {"fingerprint": [ATTRIBUTES["fingerprint"]] * 2},
        {"fingerprint": h5py.Empty("S1")},
        {"fingerprint": np.bytes_(b"\xff\xfe")},
        *({"parameters": value} for value in (-1, "many", np.nan, np.inf, [1, 2], h5py.Empty("i8"), 1 + 2j)),
    ],
)
def test_attributes_that_make_no_sense_are_refused(tmp_path, attributes):
    assert_refused(by_hand(tmp_path / "a.h5", attributes=attributes))


@pytest.mark.parametrize("fields", [{}, {"architecture": 5, "weights": None, "preprocessing": []}, {"a\nb": "c\nd"}])
def test_a_fingerprint_of_other_fields_is_described_and_refused_in_a_line(tmp_path, fields):
    path = by_hand(tmp_path / "a.h5", attributes={"fingerprint": json.dumps({"dim": DIM, **fields})})
    assert describe(path)["dim"] == str(DIM)
    with pytest.raises(StoreError, match="was made otherwise") as caught, opened(path):
        pass
    assert len(str(caught.value).splitlines()) == 1


def test_vectors_of_no_numbers_are_no_store(tmp_path):
    none = {"embedding": np.empty((ROWS, 0), np.float16)}
    assert_refused(by_hand(tmp_path / "a.h5", attributes={"fingerprint": '{"dim": 0}'}, **none))


def test_a_store_of_no_images_is_one(tmp_path):
    with opened(path := tmp_path / "a.h5", []) as writer:
        assert not len(writer.pending())
    stored = Embeddings(path)
    assert (len(stored), stored.dim, stored.read(np.array([], np.int64)).shape) == (0, DIM, (0, DIM))
    with opened(path, [1, 2]) as writer:
        assert writer.copy_from(stored) == 0
        writer.write(np.array([0, 1]), vectors([1, 2]))
    assert_right(Embeddings(path), [0, 1], [1, 2])


def test_a_fingerprint_that_was_changed_behind_the_seal_is_damage(store):
    whole = store.read_bytes()
    assert whole.startswith(SEAL) and whole.count(b'"0a1b"') == 1
    store.write_bytes(whole.replace(b'"0a1b"', b'"0a1c"'))
    assert_refused(store)
    with suppress(StoreError), opened(store, weights="0a1c"):
        pytest.fail("a damaged store was opened")


@pytest.mark.parametrize("status", [DONE, UNREADABLE])
def test_a_verdict_over_a_row_that_has_none_is_damage(tmp_path, status):
    with opened(path := tmp_path / "a.h5"):
        pass
    put(path, 1, status=status)
    assert Embeddings(path).damaged().tolist() == [1]
