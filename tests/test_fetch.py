"""Photos by their addresses, from a server that does what hosts do, and what none should."""

import asyncio
import csv
import errno
import io
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import polars as pl
import pytest

from pipeline.catalogue.images import Images
from pipeline.catalogue.tables import Catalogue
from pipeline.core.errors import SettingsError, StageError, Unusable
from pipeline.core.lock import hold
from pipeline.ingest.fetch import guard, ledger, shards
from pipeline.ingest.fetch import store as store_file
from pipeline.ingest.fetch.addresses import refusal, sized
from pipeline.ingest.fetch.pace import Pace, retry_after
from pipeline.ingest.fetch.reading import SHARED, Fetched
from pipeline.ingest.fetch.shards import shard_path
from pipeline.ingest.fetch.stage import fetch
from pipeline.ingest.fetch.store import PhotoStore
from pipeline.ingest.stage import ingest
from pipeline.project import Project
from tests.support.amazon import RELEASES, asin
from tests.support.fetching import QUICK, known, quick_settings, write_project
from tests.support.photo_hosts import (
    FAILED,
    GONE,
    GOOD,
    HOSTS,
    PRIVATE,
    PhotoHosts,
    address,
    name_of,
    network,
    picture,
)
from tests.support.program import call, failed


@pytest.fixture
def hosts():
    with PhotoHosts() as server:
        yield server


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project()


def fetched(hosts, addresses, *, retry=False, release="2023", **changes) -> pl.DataFrame:
    """The ledger of a fetch in this folder."""
    write_project(Project().root, addresses, release)
    fetch(Project(), quick_settings(**changes), retry=retry, network=network(hosts.port))
    return known(Project().photos)


def of_kinds(kinds, count=2):
    return [address(kind, n, HOSTS[n % 2]) for kind in kinds for n in range(1, count + 1)]


def test_what_hosts_do_is_kept_or_noted_with_its_reason(hosts, project, capsys):
    addresses = of_kinds([kind for kind in {**GOOD, **GONE, **FAILED} if kind != "drip"])
    addresses += [
        "",
        address("ok", 7, "c.test"),
        address("ok", 8, PRIVATE),
        "http://a.test/images/G/no-img-sm._V1_.gif",
    ]
    rows = fetched(hosts, addresses)
    given = {asin(n): at for n, at in enumerate(addresses)}
    assert rows["item_id"].to_list() == sorted(given)
    photos = Fetched(project.photos, 1000)
    for row in rows.iter_rows(named=True):
        kind = name_of(given[row["item_id"]]).partition("-")[0]
        told, asked = (row["status"], row["reason"]), hosts.asked[name_of(row["address"])]
        if kind in GOOD and row["status"] != "refused" and PRIVATE not in row["address"]:
            assert told == ("fetched", ""), row
            number = 0 if kind == "same" else int(name_of(row["address"]).partition("-")[2])
            assert photos.read(row["item_id"]) == picture(number)
            assert row["tries"] == {"late": 3}.get(kind, 2 if kind.startswith("busy") else 1)
        elif kind in GONE:
            assert told == ("gone", GONE[kind][1]) and row["tries"] == 1
            assert asked == (6 if kind == "loop" else 1)
        elif kind in FAILED:
            assert told == ("failed", FAILED[kind][1]) and row["tries"] == asked == 3
    odd = [(row["status"], row["reason"]) for row in rows[-4:].iter_rows(named=True)]
    assert odd == [
        ("refused", "no address"),
        ("refused", "a host that is not in fetch.hosts"),
        ("failed", "an address that is not public"),
        ("refused", "a placeholder by its name"),
    ]
    said = capsys.readouterr().err
    for reason, count in Counter(rows["reason"]).items():
        assert not reason or any(str(count) in line and line.endswith(reason) for line in said.splitlines())
    assert "visagg fetch --retry" in said and "data/photos/ledger.txt" in said
    assert {request.agent.partition("/")[0] for request in hosts.requests} == {"visagg"}
    assert all("(tests@example.org)" in request.agent for request in hosts.requests)


def test_a_host_that_drips_is_cut_off(hosts, project):
    rows = fetched(hosts, of_kinds(("drip",)), **{"fetch.total_seconds": 0.3, "fetch.tries": 1})
    assert [*rows.select("status", "reason").iter_rows()] == [("failed", FAILED["drip"][1])] * 2


def test_nothing_is_asked_twice_but_what_may_have_passed_and_that_when_asked_to(hosts, project):
    addresses = of_kinds(("ok", "missing", "broken", "late"))
    before = fetched(hosts, addresses, **{"fetch.tries": 2})
    assert Counter(before["status"]) == {"fetched": 2, "gone": 2, "failed": 4}
    files = {path.name: path.read_bytes() for path in project.photos.iterdir()}
    count = len(hosts.requests)
    assert fetched(hosts, addresses).equals(before)
    assert len(hosts.requests) == count
    assert {path.name: path.read_bytes() for path in project.photos.iterdir()} == files, "DVC would see a change"
    after = fetched(hosts, addresses, retry=True)
    assert Counter(after["status"]) == {"fetched": 4, "gone": 2, "failed": 2}
    assert {name_of(request.path).partition("-")[0] for request in hosts.requests[count:]} == {"broken", "late"}


def test_an_address_is_asked_once_for_all_its_items_also_those_that_come_later(hosts, project):
    shared = [address("ok", 1)] * 3 + [address("missing", 1)] * 2
    fetched(hosts, shared)
    rows = fetched(hosts, [*shared, address("ok", 1), address("missing", 1), address("ok", 2)])
    assert hosts.asked == {"ok-1": 1, "missing-1": 1, "ok-2": 1}
    photos = Fetched(project.photos, 100)
    assert [photos.read(asin(n)) == picture(1) for n in (0, 1, 2, 5)] == [True] * 4
    assert rows.filter(pl.col("status") == "gone")["item_id"].to_list() == [asin(3), asin(4), asin(6)]


def test_another_size_is_another_photo_and_going_back_asks_for_nothing(hosts, project):
    fetched(hosts, [address("ok", 1)])
    fetched(hosts, [address("ok", 1)], **{"fetch.pixels": 640})
    rows = fetched(hosts, [address("ok", 1)])
    assert [request.path for request in hosts.requests] == [f"/images/I/ok-1._SL{n}_.jpg" for n in (320, 640)]
    assert rows["address"].to_list() == ["http://a.test/images/I/ok-1._SL320_.jpg"]


def test_one_photo_of_very_many_items_is_a_placeholder_and_the_ledger_stays_true(hosts, project):
    rows = fetched(hosts, [address("same", n) for n in range(1, 31)] + [address("ok", 1)])
    assert set(rows["status"]) == {"fetched"}
    for least, is_one in ((30, True), (31, False)):
        photos = Fetched(project.photos, least)
        if is_one:
            with pytest.raises(Unusable, match=SHARED):
                photos.read(asin(3))
        else:
            assert photos.read(asin(3)) == picture(0)
        assert photos.read(asin(30)) == picture(1)


def test_each_host_has_its_connections(hosts, project):
    fetched(hosts, of_kinds(("ok",), 60), **{"fetch.connections": 3})
    assert 1 <= hosts.most_open <= 6 and len(hosts.requests) == 60


def test_a_large_fetch_lies_in_a_few_files(hosts, project, monkeypatch):
    monkeypatch.setattr(PhotoStore.__init__, "__defaults__", (10_000,))
    rows = fetched(hosts, of_kinds(("ok",), 40))
    shards = sorted(project.photos.glob("photos-*.bin"))
    assert 3 <= len(shards) <= 10 and sum(path.stat().st_size for path in shards) == rows["bytes"].sum()
    photos = Fetched(project.photos, 100)
    assert [photos.read(asin(n)) for n in range(40)] == [picture(n + 1) for n in range(40)]


@pytest.mark.parametrize("damage", ["tail", "line", "photo", "no shard", "nothing behind"])
def test_what_is_damaged_is_detected_and_fetched_anew(hosts, project, damage, capsys):
    addresses = of_kinds(("ok",), 6)
    fetched(hosts, addresses)
    path, count = project.photos / ledger.NAME, len(hosts.requests)
    content = path.read_bytes()
    lines, lost = content.splitlines(keepends=True), 0
    if damage == "tail":  # killed as it wrote
        path.write_bytes(b"".join(lines[:5]) + lines[5][:30])
        lost = 1
    elif damage == "line":
        path.write_bytes(content.replace(b'"fetched"', b'"fetchee"', 1))
        lost = 1
        with pytest.raises(StageError, match=r"ledger.txt is damaged \(1 lines\): run visagg fetch"):
            Fetched(project.photos, 100)
    elif damage == "photo":  # a power cut, before both were on the disk
        path.write_bytes(b"".join(lines[:-1]))
        shard = shard_path(project.photos, 0)
        data = bytearray(shard.read_bytes())
        data[-5:] = bytes(5)
        shard.write_bytes(data)
        lost = 1
        with pytest.raises(Unusable, match="damaged"):
            Fetched(project.photos, 100).read(known(project.photos).sort("offset")["item_id"][-1])
    elif damage == "no shard":
        shard_path(project.photos, 0).unlink()
        lost = 6
    else:
        path.write_bytes(b"".join(lines[:2]))
        lost = 4
    fetched(hosts, addresses)
    assert len(hosts.requests) == count + lost
    photos = Fetched(project.photos, 100)
    assert [photos.read(asin(n)) for n in range(6)] == [picture(n + 1) for n in range(6)]
    assert ("rows of data/photos/ledger.txt were damaged" in capsys.readouterr().err) == (
        damage in ("line", "photo", "no shard")
    )


@pytest.mark.parametrize("release", RELEASES)
def test_from_lists_of_each_release_to_the_catalogue(hosts, project, release):
    addresses = of_kinds(("ok", "missing", "away"), 4) + [address("same", n) for n in range(1, 21)]
    rows = fetched(hosts, addresses, release=release)
    assert Counter(rows["status"]) == {"fetched": 28, "gone": 4}
    ingest(project, quick_settings())
    items = Catalogue.open(project.catalogue).table("items").read()
    images = Images(project.images)
    assert len(items) == 32 and len(images) == 4, "those that are redirected are the same four photos"
    for n in range(4):
        row = items.filter(pl.col("item_id") == asin(n))["image"].item()
        assert images.read(row) == picture(n + 1)
    assert items["image"].null_count() == 24
    rejects = pl.read_csv(project.catalogue / "rejects.csv").group_by("reason").len().rows()
    assert ("photo: HTTP 404", 4) in rejects and (f"photo: {SHARED}", 20) in rejects


def test_ingest_begins_on_what_is_there_and_goes_on_with_what_comes_later(hosts, project):
    addresses = of_kinds(("ok",), 6)
    write_project(project.root, addresses)
    settings = quick_settings()
    with PhotoStore(project.photos) as store:
        store.keep(asin(2), sized(addresses[2], 320), picture(3), tries=1)
        ingest(project, settings)
        assert Catalogue.open(project.catalogue).table("items").read()["image"].to_list() == [
            None,
            None,
            0,
            None,
            None,
            None,
        ]
    fetched(hosts, addresses)
    assert "ok-3" not in hosts.asked
    ingest(project, settings)
    assert Catalogue.open(project.catalogue).table("items").read()["image"].to_list() == [*range(6)]


def test_an_earlier_fetch_is_a_folder_of_photos(hosts, project, capsys):
    fetched(hosts, of_kinds(("ok",), 4))
    os.rename(project.photos, "raw/earlier")
    changes = {"amazon_reviews.photos": "earlier", "fetch.contact": ""}
    fetch(project, quick_settings(**changes))
    assert "nothing to do" in capsys.readouterr().err
    ingest(project, quick_settings(**changes))
    assert Catalogue.open(project.catalogue).table("items").read()["image"].to_list() == [*range(4)]


def test_a_table_may_name_addresses_beside_paths(hosts, project):
    rows = [("i1", address("ok", 1)), ("i2", "photos/2.jpg"), ("i3", address("missing", 1)), ("i1", address("ok", 9))]
    rows += [("i4", ""), ("i5", address("ok", 5, "c.test")), ("i6", "HTTP://a.test/images/I/ok-6.jpg")]
    (project.root / "raw/photos").mkdir(parents=True)
    (project.root / "raw/photos/2.jpg").write_bytes(picture(2))
    items = "".join(f"{item},{image},A > B\n" for item, image in rows)
    (project.root / "raw/items.csv").write_text("item_id,image,categories\n" + items)
    (project.root / "raw/purchases.csv").write_text("user_id,item_id,time\nu,i1,5\nu,i2,6\n")
    settings = quick_settings(**{"source.name": "table"})
    fetch(project, settings, network=network(hosts.port))
    assert hosts.asked == {"ok-1": 1, "missing-1": 1, "ok-6": 1}
    ingest(project, settings)
    table = Catalogue.open(project.catalogue).table("items").read()
    assert dict(table.select("item_id", "image").rows()) == {
        "i1": 0,
        "i2": 1,
        "i3": None,
        "i4": None,
        "i5": None,
        "i6": 2,
    }
    assert Images(project.images).read(0) == picture(1)
    (project.root / "raw/items.csv").write_text(
        f"item_id,image,categories\ni1,{address('ok', 2)},A\ni2,photos/2.jpg,A\n"
    )
    ingest(project, settings)
    table = Catalogue.open(project.catalogue).table("items").read()
    assert dict(table.select("item_id", "image").rows()) == {"i1": None, "i2": 0}, "no photo of another address"


def test_without_a_contact_nothing_is_fetched_and_a_line_says_so(project):
    write_project(project.root, [address("ok", 1)], **{"fetch.contact": ""})
    line = failed(call(project.root, "fetch"), "fetch.contact", "amazon_reviews.photos")
    assert "ingest" not in line


def test_without_aiohttp_a_line_says_what_to_install(project, monkeypatch):
    write_project(project.root, [address("ok", 1)])
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    failed(call(project.root, "fetch"), "pip install 'visagg[fetch]'")


def test_a_source_that_brings_its_photos_has_a_record_that_says_so(project):
    fetch(project, quick_settings(**{"source.name": "demo", "fetch.contact": ""}))
    assert [path.name for path in project.photos.iterdir()] == ["record.json"]


def test_two_fetches_at_once_are_refused(hosts, project):
    (project.root / "data").mkdir()
    with hold(project.photos), PhotoHosts():
        fetched(hosts, [address("ok", 1)])  # this process may hold what it holds
    write_project(project.root, [address("ok", 2)])
    code = "import sys, time; from pathlib import Path; from pipeline.core.lock import hold\n"
    code += "with hold(Path('data/photos')): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}
    ) as other:
        assert other.stdout.readline()
        with pytest.raises(StageError, match="is being written by"):
            fetch(project, quick_settings(), network=network(hosts.port))
        other.stdin.close()


def test_a_full_disk_stops_the_fetch_and_costs_no_photo(hosts, project, monkeypatch):
    addresses = of_kinds(("ok",), 40)
    written = []

    def write(handle, data):
        if len(written) == 25:
            os.write(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(data)
        os.write(handle, data)

    with monkeypatch.context() as full:
        full.setattr(store_file, "write_all", write)
        full.setattr(shards, "write_all", write)
        with pytest.raises(OSError, match="No space left"):
            fetched(hosts, addresses)
    before = hosts.asked
    done = {name_of(at) for at in known(project.photos)["address"]}
    assert 10 <= len(done) < 30
    fetched(hosts, addresses)
    assert all(hosts.asked[name] == before[name] == 1 for name in done)
    photos = Fetched(project.photos, 100)
    assert [photos.read(asin(n)) for n in range(40)] == [picture(n + 1) for n in range(40)]


def test_a_ledger_of_others_cannot_lead_out_of_its_folder_or_fill_memory(project):
    project.photos.mkdir(parents=True)
    (project.photos / "photos-00000.bin").write_bytes(b"x" * 100)
    places = [(10**12, 0, 0), (10, -1, 0), (10, 0, 10**18), (10, 10**18, 0), (-5, 0, 0), (10, 0, -1), (10, 0, 0)]
    rows = [
        ledger.Row(f"i{n}", "a", "fetched", "", 1, size, "", shard, at) for n, (size, at, shard) in enumerate(places)
    ]
    (project.photos / ledger.NAME).write_bytes(b"".join(map(ledger.line, rows)))
    photos = Fetched(project.photos, 100)
    for row in rows:
        with pytest.raises(Unusable):
            photos.read(row.item_id)
    for odd in (["i", 1, "fetched", "", 1, 1, "", 0, 0], ["i", "a", "fetched", "", 1, 2**70, "", 0, 0]):
        (project.photos / ledger.NAME).write_bytes(ledger.line(odd))
        with pytest.raises(StageError, match="no ledger"):
            Fetched(project.photos, 100)


def test_the_list_is_a_table_without_formulas(hosts, project):
    fetched(hosts, of_kinds(("ok", "missing"), 1))
    with PhotoStore(project.photos) as store:
        store.note("=1+1", "http://a.test/", "gone", reason="HTTP 404", tries=1)
    done = call(project.root, "fetch", "--list")
    table = [*csv.DictReader(io.StringIO(done.stdout))]
    assert [row["item_id"] for row in table] == ["'=1+1", asin(0), asin(1)]
    assert (
        table[1]["status"] == "fetched" and table[1]["bytes"] == str(len(picture(1))) and len(table[1]["digest"]) == 32
    )
    assert (table[2]["status"], table[2]["reason"], table[2]["tries"]) == ("gone", "HTTP 404", "1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://ecx.images-amazon.com/images/I/51f._SY300_.jpg", "https://m.media-amazon.com/images/I/51f._SL320_.jpg"),
        ("http://g-ecx.images-amazon.com/images/I/5+1.jpg", "https://m.media-amazon.com/images/I/5+1._SL320_.jpg"),
        ("https://m.media-amazon.com/images/I/5%2B1._SX38_SY50_CR,0,0,38,50_.jpg", "https://m.media-amazon.com/images/I/5%2B1._SL320_.jpg"),
        ("https://a.test/images/I/1._AC_.png", "https://a.test/images/I/1._SL320_.png"),
        ("https://a.test/other/1.jpg", "https://a.test/other/1.jpg"),
        ("https://a.test/images/I/strange", "https://a.test/images/I/strange"),
        ("no address at all", "no address at all"),
        ("", ""),
    ],
)  # fmt: skip
def test_an_address_asks_for_a_size_and_keeps_its_id(address, expected):
    assert sized(address, 320) == expected
    assert sized(expected, 320) == expected


@pytest.mark.parametrize(
    "address",
    [
        "ftp://a.test/1.jpg",
        "http://user@a.test/1.jpg",
        "http://a.test:8080/1.jpg",
        "http://a.test:x/1.jpg",
        "http://127.0.0.1/1.jpg",
        "http://[::1]/1.jpg",
        "http://a.test.evil.test/1.jpg",
        "http://a.test\\@evil.test/1.jpg",
        "http://a.test/a b.jpg",
        "http://a.test/\r\nHost: b",
        "http://[",
        "//a.test/1.jpg",
        "http://a.test/" + "x" * 3000,
        "javascript:1",
    ],
)
def test_no_other_address_is_asked(address):
    assert refusal(address, {"a.test"})
    assert not refusal("https://A.test/1.jpg", {"a.test"})


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a9fe:a9fe",
        "nothing",
    ],
)
def test_no_address_is_connected_to_that_is_not_public(ip):
    assert guard.refusal(ip)


def test_public_addresses_are_connected_to():
    assert not any(map(guard.refusal, ("8.8.8.8", "2600:9000:2000::1", "64:ff9b::808:808")))


class Clock:
    """A clock that only sleepers move."""

    def __init__(self):
        self.time = 0.0

    async def sleep(self, seconds):
        self.time += seconds


async def turns(pace, clock, count, host="a.test"):
    times = []
    for _ in range(count):
        await pace.turn(host)
        times.append(clock.time)
    return times


def test_the_rate_holds_for_each_host_and_goes_down_where_one_has_too_much_to_do():
    clock = Clock()
    pace = Pace(4.0, 10.0, clock=lambda: clock.time, sleep=clock.sleep)
    assert asyncio.run(turns(pace, clock, 5)) == [0, 0.25, 0.5, 0.75, 1.0]
    pace.slow("a.test", 3.0)
    pace.slow("a.test", 2.0)  # one more answer of the same moment
    assert asyncio.run(turns(pace, clock, 1, "b.test")) == [1.0], "another host has its own pace"
    assert asyncio.run(turns(pace, clock, 3)) == [4.0, 4.5, 5.0]
    for _ in range(20):
        pace.ease("a.test")
    assert asyncio.run(turns(pace, clock, 3))[1:] == [5.75, 6.0]


def test_a_host_s_wish_is_heeded_up_to_the_longest_wait():
    now = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("7", now) == 7.0
    assert retry_after("Wed, 01 May 2024 12:01:00 GMT", now) == 60.0
    assert retry_after("Wed, 01 May 2024 11:00:00 GMT", now) == 0.0
    assert [retry_after(text, now) for text in (None, "", "soon", "-5", "1e9", "²")] == [None] * 6
    pace = Pace(1.0, 30.0)
    assert pace.wait(1, 7.0) == 7.0 and pace.wait(1, retry_after("9" * 500, now)) == 30.0
    waits = [pace.wait(tried, None) for tried in range(1, 50)]
    assert all(2 ** (n - 1) / 2 <= wait <= 2 ** (n - 1) for n, wait in zip(range(1, 5), waits, strict=False))
    assert max(waits) <= 30.0 and len(set(waits)) > 40


def test_a_contact_cannot_break_out_of_its_header():
    for contact in ("a\r\nX: 1", "é@example.org", " a"):
        with pytest.raises((SettingsError, ValueError)):
            quick_settings(**{"fetch.contact": contact})
    assert QUICK["fetch.contact"] == quick_settings().fetch.contact
