"""A fetch from the server of photo_hosts: python -m tests.support.fetching PORT, in the folder of a project."""

import sys
from pathlib import Path

import polars as pl

from pipeline.ingest.fetch.ledger import read_ledger
from pipeline.ingest.fetch.stage import fetch
from pipeline.project import Project
from pipeline.settings.settings import Settings, load
from tests.support.amazon import write_lists
from tests.support.photo_hosts import HOSTS, network
from tests.support.settings import make_settings, write_settings

QUICK = {
    "source.name": "amazon_reviews",
    "source.path": "raw",
    "source.most_rejects": 0.9,
    "sets.least_items": 2,
    "amazon_reviews.least_category": 1,
    "fetch.contact": "tests@example.org",
    "fetch.hosts": [*HOSTS, "private.test"],
    "fetch.rate": 5000.0,
    "fetch.connections": 8,
    "fetch.connect_seconds": 30.0,
    "fetch.read_seconds": 30.0,
    "fetch.total_seconds": 30.0,
    "fetch.most_bytes": 100_000,
    "fetch.tries": 3,
    "fetch.longest_wait": 0.02,
    "fetch.placeholder_items": 20,
}


def quick_settings(**changes: object) -> Settings:
    """Settings that fetch from the server, as fast as it goes."""
    return make_settings({**QUICK, **changes})


def write_project(root: Path, addresses: list[str], release: str = "2023", **changes: object) -> Project:
    """A project with lists of items at some addresses, and its settings."""
    write_lists(root / "raw", release, items=len(addresses), reviews=4 * len(addresses), address=lambda n: addresses[n])
    write_settings(root / "pipeline/params.yaml", {**QUICK, **changes})
    return Project(root)


def known(folder: Path) -> pl.DataFrame:
    """The last row of each item in a ledger."""
    return read_ledger(folder).latest()


if __name__ == "__main__":
    fetch(Project(), load(Project().settings), network=network(int(sys.argv[1])))
