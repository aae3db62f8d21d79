"""From lists in each layout, with real photos served from 127.0.0.1, to tables; by hand:

pytest -n 0 -m long tests/test_amazon_long.py -s
"""

import csv
import gzip
import json
from itertools import zip_longest

import pytest

from pipeline.ingest.fetch.stage import fetch
from pipeline.settings.settings import load
from tests.support.amazon import RELEASES, asin
from tests.support.fetching import QUICK, write_project
from tests.support.photo_hosts import HOSTS, PhotoHosts, address, network
from tests.support.program import repro, start_dvc
from tests.support.settings import change_settings
from tests.test_pipeline import SMALL

pytestmark = pytest.mark.long

ITEMS = 600
GONE = range(7, ITEMS, 25)


@pytest.fixture
def files(photos):
    """Photos so that those of an item's category are of one class."""
    classes = [sorted(folder.iterdir()) for folder in sorted(photos.iterdir()) if folder.is_dir()]
    rows = [file for row in zip_longest(*(one for one in classes[:6] for _ in "ab")) for file in row]
    return [file or rows[0] for file in rows[:ITEMS]]


def lines(file):
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


@pytest.mark.parametrize("release", RELEASES)
def test_lists_and_addresses_become_tables(copied_project, monkeypatch, files, release):
    monkeypatch.chdir(copied_project)
    wanted = [address("missing" if n in GONE else "photo", n, HOSTS[n % 2]) for n in range(ITEMS)]
    project = write_project(copied_project, wanted, release)
    (copied_project / "raw").rename("data/raw/lists")
    start_dvc(copied_project)
    changes = {**QUICK, **SMALL, "source.path": "data/raw/lists", "sets.least_items": 20}
    change_settings(copied_project / "pipeline/params.yaml", changes)
    with PhotoHosts(files) as hosts:
        fetch(project, load(project.settings), network=network(hosts.port))
    ran = repro(copied_project)
    assert {"fetch", "ingest", "embed@lite0", "report"} <= {*ran} and repro(copied_project) == []

    rows = lines(copied_project / "data/raw/lists/reviews_X.json.gz")
    user = "user_id" if release == "2023" else "reviewerID"
    shown = {asin(n) for n in range(ITEMS) if n not in GONE}
    users = {row[user] for row in rows}
    (counts,) = (copied_project / "reports/tables").glob("data.csv")
    table = {row["what"]: row["count"].replace(",", "") for row in csv.DictReader(counts.open())}
    assert table["items in the catalogue"] == str(ITEMS) and table["items with an image"] == str(len(shown))
    assert table["distinct images"] == str(len({files[n].read_bytes() for n in range(ITEMS) if n not in GONE}))
    assert table["purchases"] == str(len(rows)) and table["users"] == str(len(users))
    print({name: table[name] for name in list(table)[:8]})
