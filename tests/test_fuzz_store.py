"""Stores that are damaged anywhere: a line that says so, or the right vectors; no crash, no hang, no memory."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pipeline.embed.verify import describe
from pipeline.embeddings.store import DONE, Embeddings
from pipeline.embeddings.writer import open_for_repair, open_for_writing
from tests.support.damage import mutated, outcomes
from tests.test_embeddings import DIM, FINGERPRINT, ROWS, digests, fill, opened, vectors

SHORT, LONG = 150, 6000


def make(folder: Path) -> None:
    """A finished store: rows 3 and 5 are unreadable."""
    with opened(folder / "whole.h5") as writer:
        fill(writer)


@cache
def _whole(folder: Path) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The store's bytes, the positions of those that say what is where, and of those of rows."""
    content, store = (folder / "whole.h5").read_bytes(), Embeddings(folder / "whole.h5")
    near = np.convolve(np.frombuffer(content, np.uint8) != 0, np.ones(17), "same") > 0
    rows = np.arange(store.offsets["embedding"], store.offsets["crc"] + 4 * ROWS)
    near[rows] = False  # zeros far from what is not zero mean nothing
    return content, np.flatnonzero(near), rows


def content(folder: Path, seed: int) -> bytes:
    return mutated(*_whole(folder), seed=seed)


def attempt(path: Path) -> None:
    """Reads all that a store offers, carries it over, and writes what is not there."""
    describe(path)
    store = Embeddings(path)
    known = {digest.tobytes(): name for name, digest in enumerate(digests(range(ROWS)))}

    def names(rows):
        return [known[store.digests[row].tobytes()] for row in rows]

    good = np.setdiff1d(np.arange(len(store)), store.damaged())
    done = good[store.status[good] == DONE]
    assert (store.read(done) == vectors(names(done)).astype(np.float16)).all(), "another vector is served"
    other = path.with_name("other.h5")
    with open_for_writing(other, FINGERPRINT, digests(range(ROWS)), parameters=1, rebuild=True) as writer:
        writer.copy_from(store)
        assert not len(Embeddings(other).damaged())
    with open_for_repair(path) as writer:
        writer.reopen(store.damaged())
    with open_for_writing(path, FINGERPRINT, digests(range(ROWS)), parameters=1) as writer:
        fill(writer)
    stored = Embeddings(path)
    kept = np.flatnonzero(stored.status == DONE)
    assert stored.dim == DIM and (stored.read(kept) == vectors(kept.tolist()).astype(np.float16)).all()


def assert_all_refused_or_right(folder: Path, cases: range) -> None:
    make(folder)
    ended = dict(outcomes(__name__, folder, cases))
    assert not {case: said for case, said in ended.items() if said.startswith("fault")}
    assert sorted(ended) == list(cases)
    refused = sum(said.startswith("refused") for said in ended.values())
    assert refused > len(cases) / 10 and len(cases) - refused > len(cases) / 10, "all alike: it tries nothing"


def test_a_store_damaged_anywhere_is_refused_in_a_line_or_right(tmp_path):
    assert_all_refused_or_right(tmp_path, range(SHORT))


@pytest.mark.long
def test_many_stores_damaged_anywhere_are_refused_in_a_line_or_right(tmp_path):
    assert_all_refused_or_right(tmp_path, range(SHORT, SHORT + LONG))
