"""The images.h5 of a catalogue, damaged anywhere: a line that says so, or the right images; no crash, no hang."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalogue.images import Images
from tests.support.damage import mutated, outcomes
from tests.support.images import bank

IMAGES = [bytes([number]) * (50 + number) for number in range(12)]
SHORT, LONG = 80, 1500


@cache
def _whole(folder: Path) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The file's bytes, and the positions of those that are near some that are not zero."""
    content = (folder / "whole.h5").read_bytes()
    near = np.convolve(np.frombuffer(content, np.uint8) != 0, np.ones(17), "same") > 0
    return content, np.flatnonzero(near), np.flatnonzero(near)


def content(folder: Path, seed: int) -> bytes:
    return mutated(*_whole(folder), seed=seed)


def attempt(path: Path) -> None:
    """Reads all images, one by one and at once."""
    images = Images(path)
    images.digest()
    rows = np.arange(len(images))
    shown = images.read_many(rows) if len(rows) else []
    assert shown == [images.read(row) for row in rows]
    assert set(shown) <= set(IMAGES), "another image is served"


def assert_all_refused_or_right(folder: Path, cases: range) -> None:
    bank(folder / "whole.h5", IMAGES)
    ended = dict(outcomes(__name__, folder, cases))
    assert not {case: said for case, said in ended.items() if said.startswith("fault")}
    assert sorted(ended) == list(cases)
    assert sum(said.startswith("refused") for said in ended.values()) > len(cases) / 10


def test_an_image_file_damaged_anywhere_is_refused_in_a_line_or_right(tmp_path):
    assert_all_refused_or_right(tmp_path, range(SHORT))


@pytest.mark.long
def test_many_image_files_damaged_anywhere_are_refused_in_a_line_or_right(tmp_path):
    assert_all_refused_or_right(tmp_path, range(SHORT, SHORT + LONG))
