"""Work for processes: in order, no further ahead than was asked for, and a lost process in one line."""

import os
import signal
import time
from contextlib import closing

import pytest

from pipeline.core.errors import StageError
from pipeline.core.processes import in_processes


def slow_first(number):
    time.sleep(0.5 if number == 0 else 0)
    return number, os.getpid()


def lost(number):
    os.kill(os.getpid(), signal.SIGKILL)


def refused(number):
    raise StageError(f"{number} is refused")


def test_results_come_in_order_from_processes_of_their_own():
    results = list(in_processes(slow_first, ((number,) for number in range(6)), jobs=2, window=3))
    assert [number for number, _ in results] == list(range(6))
    assert 1 <= len({process for _, process in results} - {os.getpid()}) <= 2
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize(("jobs", "ahead"), [(1, 1), (2, 3)])
def test_tasks_are_made_no_further_ahead_than_the_window(jobs, ahead):
    made = []
    tasks = ((made.append(number) or number,) for number in range(9))
    with closing(in_processes(slow_first, tasks, jobs=jobs, window=3)) as results:
        next(results)
        assert made == list(range(ahead))


def test_a_process_that_is_lost_ends_it_in_one_line():
    with pytest.raises(StageError, match="was lost: killed, perhaps for want of memory"):
        list(in_processes(lost, [(1,), (2,)], jobs=2, window=2))


def test_what_a_process_raises_comes_here():
    with pytest.raises(StageError, match="1 is refused"):
        list(in_processes(refused, [(1,), (2,)], jobs=2, window=2))
