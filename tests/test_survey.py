"""What DVC depends on in place of raw data: it changes with them, reads none of them, and waits for nothing."""

import os
import socket

import pytest

from pipeline.core import survey
from pipeline.core.handover import read_record
from pipeline.core.survey import write_survey
from tests.support.program import call, dvc, repro, start_dvc
from tests.support.settings import change_settings
from tests.test_pipeline import write_tables


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    (folder / "photos").mkdir(parents=True)
    for name in ("items.csv", "photos/a.jpg", "photos/b.jpg"):
        (folder / name).write_text(name)
        os.utime(folder / name, ns=(0, 10**18))
    return folder


def seen(raw):
    record = raw.parent / "source.json"
    write_survey(raw, to=record)
    return read_record(record, dict, again="")


CHANGES = {
    "new": lambda raw: (raw / "photos/c.jpg").write_text("c"),
    "gone": lambda raw: (raw / "photos/a.jpg").unlink(),
    "renamed": lambda raw: (raw / "photos/a.jpg").rename(raw / "photos/c.jpg"),
    "longer": lambda raw: (raw / "items.csv").write_text("longer") and os.utime(raw / "items.csv", ns=(0, 10**18)),
    "as long": lambda raw: os.utime(raw / "items.csv", ns=(0, 10**18 + 1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_any_file_is_seen(raw, change):
    before = seen(raw)
    assert seen(raw) == before and before["files"] == 3
    change(raw)
    assert seen(raw)["digest"] != before["digest"]


def test_what_is_no_file_is_told_in_a_line_and_not_waited_for(raw, capsys, monkeypatch):
    monkeypatch.setattr(survey, "shown", repr)  # however long the folder's name is
    before = seen(raw)
    os.mkfifo(raw / "pipe")
    os.mkfifo(raw / "photos/pipe")
    (raw / "dangling").symlink_to("nowhere")
    (raw / "around").symlink_to("..")
    (raw / "circle").symlink_to("circle")
    (raw / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(raw)  # a socket's path is short
        server.bind("socket")
        os.chdir(here)
        (raw.parent / "source.json").unlink()
        assert seen(raw)["digest"] == before["digest"]
    lines = [line.replace(f"{raw}/", "") for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert lines == [
        "source: 'zero' is a device: left out",
        "source: 'circle' is a link to nothing, and so is 1 more: left out",
        "source: 'photos/pipe' is a pipe, and so is 1 more: left out",
        "source: 'socket' is a socket: left out",
    ]


def test_a_single_file_and_one_that_is_missing_are_seen(raw):
    assert seen(raw / "items.csv")["files"] == 1
    assert seen(raw / "nowhere")["files"] == 0


def test_dvc_runs_ingest_again_when_raw_data_have_changed_and_hangs_at_no_pipe(copied_project):
    start_dvc(copied_project)
    change_settings(copied_project / "pipeline/params.yaml", {"source.name": "table"})
    write_tables(copied_project / "data/raw", 30)
    os.mkfifo(copied_project / "data/raw/pipe.jpg")
    assert repro(copied_project, "ingest") == ["fetch", "ingest"]
    assert repro(copied_project, "ingest") == []
    assert "up to date" in dvc(copied_project, "status", "ingest")
    with (copied_project / "data/raw/purchases.csv").open("a") as file:
        file.write("\nuser1,001,5")
    assert repro(copied_project, "ingest") == ["fetch", "ingest"]


def test_the_demo_has_no_raw_data(project):
    done = call(project, "source")
    assert done.returncode == 0 and "nothing is read" in done.stdout
