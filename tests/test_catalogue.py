"""Encoded images: read one by one, many at once, or as a part, they are the same."""

import numpy as np
import pytest

from pipeline.catalogue import images as images_file
from tests.support.images import bank

SIZES = [700, 3, 1200, 0, 40, 41, 5000, 2, 900, 900, 1, 333]


@pytest.fixture
def encoded():
    rng = np.random.default_rng(0)
    return [rng.bytes(size) for size in SIZES]


@pytest.fixture
def images(tmp_path, encoded, monkeypatch):
    monkeypatch.setattr(images_file, "WRITE_BUFFER", 1000)  # the file's chunks: images lie across them
    return bank(tmp_path / "images.h5", encoded)


ROWS = [[0], [11], [3], [0, 1, 2, 3, 4], [2, 3, 4], [1, 2, 5, 6, 9], [7, 5, 3, 4, 4, 0], [9, 8, 7], range(12)]


@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_many_images_are_those_read_one_by_one(images, encoded, rows):
    assert images.read_many(np.array(rows)) == [encoded[row] for row in rows] == [images.read(row) for row in rows]


@pytest.mark.parametrize("rows", [*ROWS, []], ids=str)
def test_a_part_is_a_catalogue_of_its_own(images, encoded, rows):
    part = images.part(np.array(rows, int))
    assert len(part) == len(rows)
    assert part.digests.tolist() == [images.digests[row].tolist() for row in rows]
    assert [part.read(row) for row in range(len(part))] == [encoded[row] for row in rows]
    some = np.arange(len(rows))[::2]
    if len(some):
        assert part.read_many(some) == [encoded[rows[row]] for row in some]
        assert part.part(some).read_many(np.arange(len(some))) == [encoded[rows[row]] for row in some]
    assert len(images) == len(encoded) and images.read(5) == encoded[5], "the whole is as it was"


def test_neighbours_in_the_file_are_read_at_once(images):
    class Counted:
        def __init__(self, data):
            self.data, self.reads = data, []

        def __getitem__(self, key):
            self.reads.append((key.start, key.stop))
            return self.data[key]

    images._bytes = counted = Counted(images._bytes)
    images.read_many(np.array([1, 2, 3, 4, 8, 9]))
    assert counted.reads == [(700, 1943), (6986, 8786)]
