"""A few faults of stages, as test_faults_long.py has them in great number: kills, errors, and two runs at once."""

import itertools

import pytest

from tests.support import faults
from tests.support.shop import Shop
from tests.support.stages import STAGES

WAYS = ("SIGKILL", "SIGINT", "EIO", "ENOSPC")
STATES = ("present", "absent")
AT = {  # what replaces an output, makes sure of it, and fills it
    "sets": ("rename", "renameat2", "fsync"),
    "finetune": ("rename", "renameat2", "unlinkat", "write"),
    "train": ("rename", "renameat2", "unlinkat", "ftruncate", "write"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    if not faults.strace():
        pytest.skip("strace is not installed, or may not take hold of a process")
    return Shop(tmp_path_factory.mktemp("shop"), only=("ingest", "sets", "finetune", "embed", "train"))


@pytest.fixture(scope="module")
def points(shop) -> dict[str, list[faults.Point]]:
    return {name: faults.points(shop, STAGES[name]) for name in AT}


@pytest.mark.parametrize("name", AT)
def test_a_disturbed_stage_leaves_what_was_or_what_is_refused_and_a_rerun_mends_it(shop, points, name):
    """Each way once, each at another point."""
    chosen = [point for point in points[name] if point.call in AT[name]]
    step, tried = max(1, len(chosen) // len(WAYS)), 0
    for number, (way, point) in enumerate(zip(WAYS, itertools.cycle(chosen[::step]))):
        result = faults.attempt(shop, STAGES[name], state=STATES[number % 2], point=point, way=way)
        assert not result.problems, (way, point, STATES[number % 2])
        tried += result.happened
    assert tried > len(WAYS) / 2


@pytest.mark.parametrize(("name", "other"), [("sets", False), ("train", False), ("ingest", True)])
def test_a_stage_twice_at_once_gives_what_one_gives(shop, name, other):
    result = faults.at_once(shop, STAGES[name], state="present", delay=0.03, other=other)
    assert not result.problems
