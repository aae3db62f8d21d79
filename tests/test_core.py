"""What every room needs: progress that is seen, files that appear whole, fingerprints that are compared."""

import io
import os
import time
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core import files, progress, provenance
from pipeline.core.progress import Console, Notes, Progress, Speech, Work
from pipeline.core.vectors import cosines


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test moves its `now`; the watch over silence looks often."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.005)
    return clock


@pytest.fixture
def said(capsys):
    """What is said on standard error, a line each; waits until there are so many."""
    said = []

    def lines(count):
        for _ in range(4000):
            said.extend(capsys.readouterr().err.splitlines())
            if len(said) >= count:
                break
            time.sleep(0.005)
        return said

    return lines


def test_what_is_under_way_says_what_it_is_then_once_a_minute_how_far_and_at_last_how_much(clock, said):
    with Work("train lite0 average: fits a head"):
        clock.now += progress.FIRST_SECONDS
        assert said(1) == ["train lite0 average: fits a head"]
        with Console().progress("embed", 2000, "images") as counter:
            counter.add(20)
            clock.now += 80
            assert said(2)[1:] == ["embed: 20 of 2,000 images, 2.2 h left, 15.0 a minute"]
            with Progress("part", 4, "epochs") as part:
                part.add(3)
                part.expect_fewer(1)
                clock.now += 60
                line = (
                    "embed: 20 of 2,000 images, 3.9 h left, 8.6 a minute; part: 3 of 3 epochs, 0 s left, 3.0 a minute"
                )
                assert said(3)[2:] == [line]
    assert said(4)[3:] == ["embed: 20 images, 8.6 a minute"]


def test_progress_of_an_unknown_total_says_no_time_left_and_an_error_has_the_last_word(clock, capsys):
    with Progress("ingest", None, "items") as counter:
        clock.now += 2
        counter.add(5)
    assert capsys.readouterr().err == "ingest: 5 items, 2.5 a second\n"
    with suppress(ValueError), Progress("ingest", None, "items") as counter:
        counter.add(5)
        raise ValueError
    with Progress("ingest", 3, "items"):
        pass
    with Notes().progress("embed", 3, "images") as counter:
        counter.add()
    assert capsys.readouterr().err == ""


def test_who_asks_for_quiet_hears_nothing_and_who_asks_for_more_hears_it_sooner(clock, said):
    Speech.choose(quiet=True)
    try:
        with Progress("ingest", None, "items") as counter:
            counter.add(5)
            clock.now += 600
            Console().say("a line")
        Speech.choose(verbose=True)
        with Progress("ingest", None, "items") as counter:
            Console().say("it begins")
            clock.now += progress.OFTEN_SECONDS
            assert said(2) == ["it begins", "ingest: 0 items"]
    finally:
        Speech.choose()


def test_on_a_terminal_there_is_a_bar_that_goes_away(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("train", 3, "runs") as counter:
        for _ in range(3):
            counter.add()
    shown = terminal.getvalue()
    assert "train" in shown and "3 [" in shown and "\n" not in shown
    assert not shown.rpartition("\r")[2].strip()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_or_folder_appears_whole_or_stays_as_it_was(tmp_path, error, is_folder):
    path = tmp_path / "new/values"

    def write(text, error=None):
        with files.write_aside(path) as aside:
            if is_folder:
                aside.mkdir()
            (aside / "a" if is_folder else aside).write_text(text)
            if error:
                raise error

    def text():
        return (path / "a" if is_folder else path).read_text()

    with pytest.raises(type(error)):
        write("never seen", error)
    assert not list(path.parent.iterdir())
    write("old")
    with pytest.raises(type(error)):
        write("half", error)
    assert text() == "old"
    path.with_name(".values.0123abcd.partial").write_text("what a kill left")
    path.with_name(".values.0123abcd.old").mkdir()
    path.with_name(".values.lock").write_text("of a process that is no more")
    write("new")
    assert text() == "new" and os.listdir(path.parent) == ["values"]
    path.rename(path.with_name(".values.4567abcd.old"))  # killed between two renames, where the system cannot exchange
    write("newer")
    assert text() == "newer" and os.listdir(path.parent) == ["values"]


def test_fingerprints_differ_by_every_field_that_one_has_otherwise_or_alone():
    old = {"pixels": {"size": 224, "mean": [0.5]}, "dim": 4, "pooling": "average"}
    new = {"pixels": {"size": 240, "mean": [0.5]}, "dim": 4, "layer": 3}
    assert provenance.differences(old, new) == [
        "layer: None, not 3",
        "pixels.size: 224, not 240",
        "pooling: average, not None",
    ]
    assert provenance.differences(old, dict(reversed(old.items()))) == []


def test_a_digest_of_tensors_follows_names_types_shapes_and_values_but_not_their_order():
    tensors = {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2), np.float32)}
    digest = provenance.digest_tensors(tensors.items())
    assert digest == provenance.digest_tensors(reversed(tensors.items()))
    others = [
        {**tensors, "a": tensors["a"].reshape(2, 3)},
        {**tensors, "a": tensors["a"].view(np.int32)},
        {**tensors, "a": tensors["a"] + 1},
        {"c": tensors["a"], "b": tensors["b"]},
        {"a": tensors["a"]},
    ]
    assert len({digest, *(provenance.digest_tensors(other.items()) for other in others)}) == 6


def test_a_cosine_with_a_vector_of_no_numbers_passes_for_no_likeness():
    vectors = np.array([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0], [np.nan, 1.0]], np.float16)
    likeness = cosines(vectors, np.tile([3.0, 4.0], (4, 1)))
    assert likeness[:3].tolist() == pytest.approx([1.0, -1.0, 0.0]) and not likeness[3] >= -1
