"""One writer an output: whatever lies where its lock belongs, and however many want it."""

import errno
import fcntl
import multiprocessing
import os
import time

import pytest

from pipeline.core import lock
from pipeline.core.errors import StageError
from pipeline.core.lock import hold

TURNS = 150


def test_what_a_dead_process_left_is_no_obstacle(tmp_path):
    (tmp_path / ".a.lock").write_text("process 1 on another-host")
    with hold(tmp_path / "a"), hold(tmp_path / "a"):  # one may hold what one holds already
        assert (tmp_path / ".a.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_in_a_line(tmp_path, monkeypatch, number):
    def fail(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StageError, match="cannot lock files") as refused, hold(tmp_path / "a"):
        pass
    assert "\n" not in str(refused.value)


def test_a_folder_where_the_lock_belongs_is_an_error_of_the_system(tmp_path):
    (tmp_path / ".a.lock").mkdir()
    with pytest.raises(OSError, match="Is a directory"), hold(tmp_path / "a"):
        pass


def _take_turns(path, inside, done):
    held = 0
    while held < TURNS:
        try:
            with hold(path):
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                os.unlink(inside)
                held += 1
        except StageError:
            time.sleep(0)
        except FileExistsError:
            done.put("two at once")
            return
    done.put("fine")


def test_two_are_never_inside_at_once_though_the_lock_file_goes_with_each_turn(tmp_path):
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    others = [
        context.Process(target=_take_turns, args=(tmp_path / "a", tmp_path / "inside", done), daemon=True)
        for _ in range(3)
    ]
    for other in others:
        other.start()
    assert [done.get(timeout=60) for _ in others] == ["fine"] * 3
    for other in others:
        other.join()
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_was_exchanged_while_it_was_opened_is_none(tmp_path, monkeypatch):
    """The holder removed it between this process's open and its lock: there is another one by now."""
    path, flock, rounds = tmp_path / "a", fcntl.flock, []

    def exchanged(handle, operation):
        rounds.append(handle)
        if len(rounds) == 1:
            (tmp_path / ".a.lock").unlink()
            (tmp_path / ".a.lock").write_text("another's")
        flock(handle, operation)

    monkeypatch.setattr(lock.fcntl, "flock", exchanged)
    with hold(path):
        assert len(rounds) == 2
