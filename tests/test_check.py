"""visagg check: what ingest would say, and not a file written."""

import json
import os

import pytest

from pipeline.ingest.check import EXAMPLES
from pipeline.ingest.reading import UNLABELLED
from tests.support.images import write_table_source
from tests.support.program import call, failed
from tests.support.settings import write_settings

WORDS = ("--source", "table", "--path", "raw")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a source, its settings, and a folder of its own for temporary files."""
    write_table_source(tmp_path / "raw")
    write_settings(tmp_path / "pipeline/params.yaml", {"source.name": "table", "source.path": "raw"})
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    return tmp_path


def everything(folder):
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def spoil(place):
    """Faults of all kinds in the source."""
    (place / "raw/photos/1.jpg").write_bytes(b"<html>")
    with (place / "raw/items.csv").open("a") as file:
        file.write("\ni0,photos/0.jpg,Hats\ni9,nowhere.jpg,\n")
    with (place / "raw/purchases.csv").open("a") as file:
        file.write("\nu1,unknown,3\nu1,i0,soon\n")


def test_a_good_source_is_counted_and_nothing_is_written(place):
    before = everything(place)
    result = call(place, "check")
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "raw (table)",
        "           6 items",
        "           6 items with an image",
        "           6 distinct images",
        "         120 purchases",
        "          40 users",
        "ingest would succeed",
    ]
    assert everything(place) == before


@pytest.mark.parametrize("most", [0.5, 0.0])
def test_it_says_what_ingest_says(place, most):
    """The same reasons, the same counts, and, where ingest stops, the same line and status."""
    spoil(place)
    write_settings(
        place / "pipeline/params.yaml", {"source.name": "table", "source.path": "raw", "source.most_rejects": most}
    )
    before = everything(place)
    checked = call(place, "check", "--json")
    assert everything(place) == before
    found = json.loads(checked.stdout)
    ingested = call(place, "ingest")
    assert checked.returncode == ingested.returncode == (0 if most else 1)
    assert found["succeeds"] is bool(most)
    if not most:
        line = ingested.stderr.splitlines()[-1]
        assert line == checked.stderr.splitlines()[-1] and line.endswith(found["fault"])
    else:
        said = [line for line in ingested.stdout.splitlines() if line.startswith("   ")]
        assert said == [f"{reject['count']:>12,} {reject['stage']}: {reject['reason']}" for reject in found["rejects"]]
    assert len(found["rejects"]) == 7
    assert found["counts"] == {
        "items": 7,
        "items with an image": 5,
        "distinct images": 5,
        "purchases": 120,
        "users": 40,
    }


def test_examples_name_what_is_rejected(place):
    spoil(place)
    result = call(place, "check", *WORDS)
    lines = result.stdout.splitlines()
    for reason, example in (
        ("           1 image: not an image", "id i1"),
        ("           1 image: image file missing", "id i9"),
        (f"           1 item: {UNLABELLED}", "id i9"),
        ("           1 purchase: unknown item", "id unknown"),
    ):
        assert example in lines[lines.index(reason) + 1]
    given = [line for line in lines if line.startswith(" " * 15) and "id i1" in line]
    assert len(given) == 1 + EXAMPLES, "of the 20 purchases of an item without an image, some are shown"


def test_a_source_that_is_missing_or_empty_is_a_line(place):
    failed(call(place, "check", "--path", "nowhere"), "nowhere: no such folder")
    (place / "raw/items.csv").write_text("item_id,image,categories\n")
    result = call(place, "check", "--json")
    assert result.returncode == 1 and "no item has a usable image" in json.loads(result.stdout)["fault"]
    assert call(place, "check", "--source", "none").returncode == 2
    assert os.listdir(place / "scratch") == []


def test_simulated_data_are_called_so(place):
    assert call(place, "simulate", "--items", "3", "--to", "drawn", "--jobs", "1").returncode == 0
    result = call(place, "check", "--path", "drawn")
    assert "SIMULATED: images and users" in result.stdout
    assert json.loads(call(place, "check", "--path", "drawn", "--json").stdout)["simulated"] == "images and users"
