"""A fetch that is killed on its way, again and again: nothing is lost, and nothing that was answered is asked again.

The long one is run by hand: pytest -n 0 -m long tests/test_fetch_killed.py -s
"""

import random
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from pipeline.ingest.fetch.stage import fetch
from pipeline.ingest.stage import ingest
from pipeline.project import Project
from pipeline.settings.settings import load
from tests.support.fetching import known, write_project
from tests.support.photo_hosts import FAILED, GONE, GOOD, HOSTS, PhotoHosts, address, network
from tests.support.settings import ROOT

ODD = [kind for kind in {**GOOD, **GONE, **FAILED} if kind not in ("ok", "same", "drip", "bomb")]


def addresses(count: int, *, odd: int, same: int, slow: tuple[str, ...] = ()) -> list[str]:
    """Some of each odd kind, some of the same photo, and good ones, well mixed."""
    found = [address(kind, n, HOSTS[n % 2]) for kind in ODD for n in range(1, odd + 1)]
    found += [address("same", n, HOSTS[n % 2]) for n in range(1, same + 1)]
    found += [address(kind, n) for kind in slow for n in range(1, 3)]
    found += [address("ok", n, HOSTS[n % 2]) for n in range(1, count - len(found) + 1)]
    random.Random(5).shuffle(found)
    return found


def start(root: Path, port: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.fetching", str(port)],
        cwd=root,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_on_the_way(root: Path, hosts: PhotoHosts, requests: int, how: signal.Signals) -> bool:
    """Kills a fetch behind so many requests; whether it was still at work."""
    process, before = start(root, hosts.port), len(hosts.requests)
    while len(hosts.requests) < before + requests and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(how)
    process.communicate()
    return process.returncode != 0


def answered(rows: pl.DataFrame) -> set[str]:
    """The addresses that the ledger has an answer of."""
    return {*rows.filter(pl.col("status") != "refused")["address"]}


def catalogue(root: Path) -> dict[str, bytes]:
    """The catalogue's files, made of what is there."""
    ingest(Project(), load(Project().settings))
    return {path.name: path.read_bytes() for path in sorted((root / "data/catalogue").iterdir())}


class Outcome(NamedTuple):
    """What a fetch with kills was like: photos asked for more often than without, by name; and what was measured."""

    more: dict[str, int]
    said: str
    seconds: float
    times: list[float]


def killed_and_not(tmp_path, monkeypatch, wanted: list[str], kills: list[tuple[int, signal.Signals]], **changes):
    """Fetches once in one go and once with kills, and holds one against the other."""
    whole, often = tmp_path / "whole", tmp_path / "often"
    for root in (whole, often):
        write_project(root, wanted, **changes)
    with PhotoHosts() as hosts:
        monkeypatch.chdir(whole)
        fetch(Project(), load(Project().settings), network=network(hosts.port))
        once, of_once = catalogue(whole), Counter(hosts.addresses)
    monkeypatch.chdir(often)
    folder, marks = often / "data/photos", []
    with PhotoHosts() as hosts:
        begun = time.monotonic()
        for requests, how in kills:
            assert kill_on_the_way(often, hosts, requests, how), "it should be killed before it is done"
            marks.append((len(hosts.requests), answered(known(folder))))
            assert catalogue(often)["items.parquet"] != once["items.parquet"], "it is made of what is there so far"
        process = start(often, hosts.port)
        said, _ = process.communicate()
        assert process.returncode == 0, said
        seconds = time.monotonic() - begun
    for place, done in marks:
        assert done and not done & {*hosts.addresses[place:]}
    assert catalogue(often) == once
    columns = ["item_id", "address", "status", "reason", "bytes", "digest"]
    assert known(folder).select(columns).equals(known(whole / "data/photos").select(columns))
    asked = Counter(hosts.addresses)
    assert asked.keys() == of_once.keys()
    more = {name: asked[name] - of_once[name] for name in asked if asked[name] > of_once[name]}
    return Outcome(more, said, seconds, [request.time for request in hosts.requests])


def test_killed_on_its_way_a_fetch_goes_on_and_the_catalogue_has_the_same_bytes(tmp_path, monkeypatch):
    kills = [(60, signal.SIGKILL), (40, signal.SIGINT), (50, signal.SIGKILL)]
    outcome = killed_and_not(tmp_path, monkeypatch, addresses(250, odd=1, same=30), kills)
    assert len(outcome.more) <= 3 * 2 * 8, "those under way when it was killed: two hosts of eight connections"


@pytest.mark.long
def test_twenty_thousand_addresses_and_ten_kills(tmp_path, monkeypatch):
    kills = [(1500, signal.SIGKILL)] * 10
    wanted = addresses(20_000, odd=100, same=3000, slow=("drip", "bomb"))
    rate = 150.0
    changes = {"fetch.rate": rate, "fetch.placeholder_items": 1000, "fetch.total_seconds": 5.0}
    outcome = killed_and_not(tmp_path, monkeypatch, wanted, kills, **changes)
    times, again = outcome.times, sum(outcome.more.values())
    most = max(bisect_left(times, begin + 10) - place for place, begin in enumerate(times))
    print(outcome.said)
    print(f"{len(times):,} requests in {outcome.seconds:.0f} s, {len(kills)} kills; asked again by kills: {again}")
    print(f"at most {most} requests in any 10 s, {rate * 2 * 10:.0f} allowed on two hosts")
    print(dict(Counter(known(tmp_path / "often/data/photos")["status"])))
    assert len(outcome.more) <= len(kills) * 2 * 8


@pytest.mark.long
def test_the_rate_as_the_server_sees_it(tmp_path, monkeypatch):
    rate, seconds = 60, 10
    write_project(tmp_path, [address("ok", n) for n in range(rate * seconds)], **{"fetch.rate": float(rate)})
    monkeypatch.chdir(tmp_path)
    with PhotoHosts() as hosts:
        fetch(Project(), load(Project().settings), network=network(hosts.port))
    times = [request.time for request in hosts.requests]
    most = max(bisect_left(times, begin + 1) - place for place, begin in enumerate(times))
    print(f"{len(times)} requests at {rate} a second: {times[-1] - times[0]:.2f} s; in any second at most {most}")
