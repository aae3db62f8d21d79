"""The public Amazon reviews: every odd form of the three releases, each filter, and counts made by other means."""

import gzip
import json
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random

import polars as pl
import pytest

from pipeline.catalogue.tables import Catalogue
from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest.amazon import lines as lines_file
from pipeline.ingest.amazon import records
from pipeline.ingest.amazon.lines import lines
from pipeline.ingest.amazon.photos import open_photos
from pipeline.ingest.amazon.release import recognise
from pipeline.ingest.amazon.source import AmazonReviews
from pipeline.ingest.raw import RawItem, RawPurchase, Reject
from pipeline.ingest.stage import ingest
from pipeline.ingest.tally import Tally
from pipeline.project import Project
from pipeline.sets.stage import make_sets
from pipeline.settings.amazon import AmazonSettings
from tests.support.amazon import RELEASES, asin, item, path, review, write_lists
from tests.support.settings import make_settings
from tests.test_ingest import picture

ITEM_2014 = {
    "asin": "0000031852",
    "title": "Girls Tutu",
    "categories": [["Sports & Outdoors", "Other Sports", "Dance"]],
}
ITEM_2018 = {
    "category": ["Clothing, Shoes &amp; Jewelry", "Women", "Clothing", "Imported", "100% Cotton"],
    "title": "<script>var aPageStart = (new Date()).getTime();",
    "main_cat": "Toys &amp; Games",
    "price": "",
    "asin": "6041002984",
    "imageURL": [],
}
ITEM_2023 = {
    "main_category": "AMAZON FASHION",
    "title": "Women\u00d5s caf\u00e9 top",
    "price": "from 12.99",
    "images": [{"large": "https://m.example/I/31dlCd7tHSL.jpg", "variant": "MAIN", "hi_res": None}],
    "categories": ["Clothing", "Women"],
    "details": {"Department": "womens"},
    "parent_asin": "B07G9GWFSM",
}
REVIEW_2014 = {"reviewerID": "A0USER1", "asin": "0000031852", "overall": 5.0, "unixReviewTime": 1252800000}
REVIEW_2018 = {**REVIEW_2014, "asin": "6041002984", "verified": True}
REVIEW_2023 = {
    "rating": 5.0,
    "asin": "B088SZDGXG",
    "parent_asin": "B07G9GWFSM",
    "user_id": "AEUSER3",
    "timestamp": 1588687728923,
    "verified_purchase": True,
}
OF = {"2014": (ITEM_2014, REVIEW_2014), "2018": (ITEM_2018, REVIEW_2018), "2023": (ITEM_2023, REVIEW_2023)}
ONE_BOUGHT = {"2014": "0000031852", "2018": "6041002984", "2023": "B07G9GWFSM"}


def spelt(row):
    return row if isinstance(row, bytes) else json.dumps(row).encode()


def write(folder: Path, items, reviews, release="2023") -> Path:
    """Lists of rows, each a dict or the bytes of its line; items of 2014 as literals."""
    folder.mkdir(exist_ok=True)
    spell = spelt if release != "2014" else lambda row: row if isinstance(row, bytes) else repr(row).encode()
    (folder / "meta_a.json").write_bytes(b"".join(spell(row) + b"\n" for row in items))
    (folder / "reviews_a.json").write_bytes(b"".join(spelt(row) + b"\n" for row in reviews))
    return folder


def opened(folder, **settings) -> AmazonReviews:
    chosen = AmazonSettings(**{"least_category": 1, **settings})
    own = folder / chosen.photos if chosen.photos else None
    photos = open_photos(own, folder / "fetched", placeholder_items=100)
    return AmazonReviews(folder, chosen, folder, photos=photos)


def given(folder, **settings):
    """Items by id, purchases as tuples, rejects of rows, and the counts of all that is left out or refused."""
    source = opened(folder, **settings)
    entries = [*source.items(), *source.purchases()]
    items = {entry.item_id: entry for entry in entries if isinstance(entry, RawItem)}
    purchases = [(e.user_id, e.item_id, e.time) for e in entries if isinstance(e, RawPurchase)]
    rejects = [entry for entry in entries if isinstance(entry, Reject)]
    counts = Counter()
    for reject in rejects:
        counts[f"{reject.stage}: {reject.reason}"] += reject.count
    return items, purchases, [reject for reject in rejects if reject.is_row], dict(counts)


def refusal(folder, **settings):
    with pytest.raises(SourceError) as refused:
        opened(folder, **settings)
    line = str(refused.value)
    assert "\n" not in line and len(line) < 600
    return line


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_records_of_each_release_are_read(tmp_path, release, pack):
    row, bought = OF[release]
    write(tmp_path, [row], [bought], release)
    for file in tmp_path.iterdir():
        file.write_bytes(pack(file.read_bytes()))
    items, purchases, rejects, counts = given(tmp_path)
    assert list(items) == [ONE_BOUGHT[release]] and not rejects and not counts
    user_id, time = ("AEUSER3", 1588687728) if release == "2023" else ("A0USER1", 1252800000)
    assert purchases == [(user_id, ONE_BOUGHT[release], time)]
    (only,) = items.values()
    assert only.title == {"2014": "Girls Tutu", "2018": "", "2023": "Women\u00d5s caf\u00e9 top"}[release]
    assert (
        only.categories
        == {
            "2014": [["Sports & Outdoors", "Other Sports", "Dance"]],
            "2018": [["Clothing, Shoes & Jewelry", "Women", "Clothing"]],
            "2023": [["Clothing", "Women"]],
        }[release]
    )
    with pytest.raises(Unusable, match="no image"):
        only.image()


@pytest.mark.parametrize(
    ("release", "text", "row"),
    [
        ("2014", "A0USER1,0000031852,5.0,1252800000", ("A0USER1", "0000031852", 1252800000)),
        ("2018", "6041002984,A0USER1,5.0,1413763200", ("A0USER1", "6041002984", 1413763200)),
        ("2023", "AEUSER3,B07G9GWFSM,4.0,1588615855070", ("AEUSER3", "B07G9GWFSM", 1588615855)),
        (
            "2023",
            "user_id,parent_asin,rating,timestamp,history\nAEUSER3,B07G9GWFSM,4.0,1588615855070,B01 B02",
            ("AEUSER3", "B07G9GWFSM", 1588615855),
        ),
    ],
)
def test_ratings_are_recognised_by_what_stands_in_their_columns(tmp_path, release, text, row):
    write(tmp_path, [OF[release][0]], [], release)
    (tmp_path / "reviews_a.json").write_text(text + "\n")
    kind = recognise(tmp_path / "reviews_a.json")
    assert (kind.release, kind.content, kind.form) == (release, "reviews", "csv")
    assert given(tmp_path)[1] == [row]


def test_the_hub_s_parquet_is_read(tmp_path):
    row = {**ITEM_2023, "price": "None", "details": json.dumps({"Department": "womens"})}
    row["images"] = {"hi_res": [None], "large": ["https://m.example/a.jpg"], "variant": ["MAIN"]}
    rows = [row, {**row, "parent_asin": "B000000001", "details": "{cut"}]
    pl.DataFrame(rows).write_parquet(tmp_path / "meta_x.parquet")
    pl.DataFrame([REVIEW_2023]).write_parquet(tmp_path / "reviews_x.parquet")
    items, purchases, *_ = given(tmp_path, labels="department")
    assert {name: entry.categories for name, entry in items.items()} == {"B07G9GWFSM": [["womens"]], "B000000001": []}
    assert purchases == [("AEUSER3", "B07G9GWFSM", 1588687728)]


def test_odd_rows_cost_themselves_alone_and_are_told_with_file_line_and_value(tmp_path):
    items = [
        ITEM_2023,
        {**ITEM_2023, "title": "again"},
        b'{"parent_asin": "B0000000',
        b"\xff\xfe\x00",
        {**ITEM_2023, "parent_asin": None},
        {**ITEM_2023, "parent_asin": "a b"},
        {**ITEM_2023, "parent_asin": "B000000002", "categories": "Clothing"},
        {**ITEM_2023, "parent_asin": "B000000003", "categories": [["x"], 5]},
        b"[1, 2]",
        b"[" * 100_000,
        b'{"parent_asin": ' + b"9" * 10_000 + b"}",
        {**ITEM_2023, "parent_asin": "B000000004", "title": None, "categories": None},
    ]
    reviews = [
        REVIEW_2023,
        REVIEW_2023,
        {**REVIEW_2023, "parent_asin": "B0UNKNOWN0"},
        {**REVIEW_2023, "timestamp": None},
        {**REVIEW_2023, "timestamp": 10**19},
        {**REVIEW_2023, "timestamp": "yesterday"},
        {**REVIEW_2023, "rating": "five"},
        {**REVIEW_2023, "rating": float("nan")},
        {**REVIEW_2023, "user_id": "=1+1"},
        {**REVIEW_2023, "user_id": ""},
        b"null",
    ]
    items, purchases, rejects, counts = given(write(tmp_path, items, reviews))
    assert list(items) == ["B000000004", "B07G9GWFSM"] and items["B07G9GWFSM"].title != "again"
    assert len(purchases) == 1
    assert counts == {
        "item: categories are not a list": 1,
        "item: categories are not lists of text": 1,
        "item: left out: its id was there before": 1,
        "item: no parent_asin": 1,
        "item: not JSON: cut or damaged": 3,
        "item: not UTF-8": 1,
        "item: not a record": 1,
        "item: parent_asin is no identifier": 1,
        "purchase: left out: of an item that the lists of items do not have": 1,
        "purchase: left out: repeats a review of the same user, item and time": 1,
        "purchase: no time": 1,
        "purchase: no user_id": 1,
        "purchase: not a record": 1,
        "purchase: the rating is not a number from 0 to 5": 2,
        "purchase: the time is not in milliseconds since 1970": 2,
        "purchase: user_id is no identifier": 1,
    }
    told = {(r.file, r.line): (r.item_id, r.field, r.value) for r in rejects}
    assert told["meta_a.json", 7] == ("B000000002", "categories", "Clothing")
    assert told["reviews_a.json", 6] == ("B07G9GWFSM", "timestamp", "yesterday")
    assert told["meta_a.json", 3] == ("", "", "")


def test_a_missing_time_of_2014_is_read_from_its_day(tmp_path):
    bought = {**REVIEW_2014, "reviewTime": "09 13, 2009"}
    del bought["unixReviewTime"]
    wrong = {**bought, "reviewTime": "13 09, 2009"}
    milliseconds = {**REVIEW_2014, "unixReviewTime": 1252800000000}
    _, purchases, _, counts = given(write(tmp_path, [ITEM_2014], [bought, wrong, milliseconds], "2014"))
    assert purchases == [("A0USER1", "0000031852", 1252800000)]
    assert counts == {"purchase: no time": 1, "purchase: the time is not in seconds since 1970": 1}


def test_features_of_2018_are_cut_where_rare_names_begin(tmp_path):
    root = ["Clothing, Shoes & Jewelry", "Women"]
    rows = [{**ITEM_2018, "asin": asin(n), "category": [*root, f"feature {n}", "Women"]} for n in range(5)]
    items, *_ = given(write(tmp_path, rows, [{**REVIEW_2018, "asin": asin(0)}]), least_category=2)
    assert [entry.categories for entry in items.values()] == [[root]] * 5
    items, *_ = given(tmp_path, least_category=1, category_depth=1)
    assert [entry.categories for entry in items.values()] == [[root[:1]]] * 5


def test_fashion_of_2023_without_any_category_names_the_ways_out(tmp_path):
    write(tmp_path, [{**ITEM_2023, "categories": []}] * 3, [REVIEW_2023])
    line = refusal(tmp_path)
    assert "Clothing_Shoes_and_Jewelry" in line and "details.Department" in line
    assert line == refusal(tmp_path, categories=["Women > Clothing"]), "a filter hides it not"
    items, *_ = given(tmp_path, labels="department")
    assert [entry.categories for entry in items.values()] == [[["womens"]]]
    write(tmp_path, [{**ITEM_2023, "details": {}}], [REVIEW_2023])
    assert "no item has details.Department" in refusal(tmp_path, labels="department")


def chosen(rows, settings):
    """What the filters keep, in plain Python: pairs of user, item and time; and the items."""
    kept, seen = [], set()
    for row in rows:
        who, what, when = row["user_id"], row["parent_asin"], row["timestamp"] // 1000
        if settings.get("verified_only") and not row["verified_purchase"]:
            continue
        if row["rating"] < settings.get("least_rating", 0) or when < settings.get("begin", 0):
            continue
        if settings.get("end", 1e20) <= when or (who, what, when) in seen:
            continue
        if settings.get("kind") and path(int(what[1:]))[1] != settings["kind"]:
            continue
        seen.add((who, what, when))
        kept.append((who, what, when))
    if most := settings.get("most_items"):
        counts = Counter(what for _, what, _ in kept)
        busiest = set(sorted(counts, key=lambda what: (-counts[what], what))[:most])
        kept = [row for row in kept if row[1] in busiest]
    while settings.get("k_core"):
        users, items = Counter(row[0] for row in kept), Counter(row[1] for row in kept)
        left = [row for row in kept if min(users[row[0]], items[row[1]]) >= settings["k_core"]]
        if len(left) == len(kept):
            break
        kept = left
    return sorted(kept, key=lambda row: (row[0], row[2]))


FILTERS = [
    {},
    {"verified_only": True},
    {"least_rating": 4.0},
    {"begin": 1_325_376_000, "end": 1_356_998_400},
    {"kind": "Men"},
    {"most_items": 20},
    {"k_core": 3},
    {"k_core": 4, "most_items": 30, "least_rating": 2.0, "kind": "Women", "verified_only": True},
]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_filters_keep_what_a_count_in_plain_python_keeps(tmp_path, wanted):
    draw = Random(3)
    rows = [review(draw, 80, 60, release="2023") for _ in range(1500)]
    rows += rows[::50]
    write(tmp_path, [json.loads(item(n, "2023")) for n in range(80)], rows)
    settings = {
        name: wanted[name] for name in ("verified_only", "least_rating", "most_items", "k_core") if name in wanted
    }
    if "begin" in wanted:
        settings |= {"first_day": "2012-01-01", "last_day": "2012-12-31"}
    if "kind" in wanted:
        settings["categories"] = [f"{wanted['kind']} > clothing"]
    items, purchases, rejects, counts = given(tmp_path, **settings)
    expected = chosen(rows, wanted)
    assert sorted(purchases) == sorted(expected) and purchases == sorted(purchases, key=lambda row: (row[0], row[2]))
    assert len(purchases) > 0 and not rejects
    left = sum(count for reason, count in counts.items() if reason.startswith("purchase"))
    assert len(purchases) + left == len(rows)
    assert len(items) + sum(count for reason, count in counts.items() if reason.startswith("item")) == 80
    if "k_core" in wanted:
        assert set(items) == {what for _, what, _ in purchases}


@pytest.mark.parametrize(
    "category", ["Clothing > Women", "Women > Shoes", "Wom", "Clothing, Shoes & Jewelry > Clothing"]
)
def test_a_category_is_names_one_behind_the_other(tmp_path, category):
    write(tmp_path, [json.loads(item(n, "2023")) for n in range(4)], [{**REVIEW_2023, "parent_asin": asin(0)}])
    items, purchases, _, counts = given(tmp_path, categories=[category])
    assert not items and not purchases
    assert counts == {
        "item: left out: of no chosen category": 4,
        "purchase: left out: of an item that the settings leave out": 1,
    }


def test_verified_only_is_refused_where_nothing_says_what_is_verified(tmp_path):
    assert "verified_only" in refusal(write(tmp_path, [ITEM_2014], [REVIEW_2014], "2014"), verified_only=True)


@pytest.mark.parametrize(
    ("items", "reviews", "said"),
    [
        ([ITEM_2018], [REVIEW_2023], "different releases: meta_a.json is of 2018, reviews_a.json of 2023"),
        ([REVIEW_2023], [REVIEW_2023], "a list of reviews; amazon_reviews.items names lists of items"),
        ([ITEM_2023], [ITEM_2023], "a list of items; amazon_reviews.purchases names lists of reviews"),
        ([], [REVIEW_2023], "empty"),
        ([b"\x00\x01\x02" * 50], [REVIEW_2023], "expected items or reviews"),
        ([b"<html><body>404"], [REVIEW_2023], "expected items or reviews"),
        ([{"name": "a"}], [REVIEW_2023], "expected items or reviews"),
        ([ITEM_2014], [b"a,b,5.0,1252800000"], "which of its first two columns"),
    ],
)
def test_what_is_no_such_list_is_refused_in_a_line(tmp_path, items, reviews, said):
    assert said in refusal(write(tmp_path, items, reviews))


def test_missing_and_special_files_are_refused(tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "no such file" in refusal(tmp_path)
    write(tmp_path, [ITEM_2023], [REVIEW_2023])
    assert "no such folder" in refusal(tmp_path, photos="photos")
    (tmp_path / "meta_a.json").write_bytes(b"PAR1" + b"junk" * 100)
    assert "not readable as parquet" in refusal(tmp_path)


def test_a_gzip_that_is_cut_or_damaged_says_so(tmp_path):
    write(tmp_path, [ITEM_2023], [{**REVIEW_2023, "timestamp": n + 10**12, "text": str(hash(n))} for n in range(5000)])
    packed = gzip.compress((tmp_path / "reviews_a.json").read_bytes())
    for content in (packed[: len(packed) // 2], packed[:-4], packed[:2000] + b"\0" * 50 + packed[2050:]):
        (tmp_path / "reviews_a.json").write_bytes(content)
        assert "damaged or cut short behind line" in refusal(tmp_path)


def test_a_gzip_bomb_and_a_line_without_end_are_refused_early(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_file, "UNFOLDED_FLOOR", 1 << 20)
    monkeypatch.setattr(lines_file, "LONGEST", 1 << 18)
    monkeypatch.setattr(lines_file, "ENDLESS", 1 << 20)
    write(tmp_path, [ITEM_2023], [REVIEW_2023])
    bomb = gzip.compress(json.dumps(REVIEW_2023).encode() + b"\n" + (b" " * 1000 + b"\n") * 20_000)
    (tmp_path / "reviews_a.json").write_bytes(bomb)
    assert "unfold to more than 100 times" in refusal(tmp_path)
    (tmp_path / "reviews_a.json").write_bytes(json.dumps(REVIEW_2023).encode() + b"\n" + b"x" * (2 << 20))
    tracemalloc.start()
    assert "a line of more than" in refusal(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_line_that_is_too_long_is_one_reject(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_file, "LONGEST", 1000)
    file = tmp_path / "a"
    for long in (b"x" * 1000, b"x" * 1001, b"x" * 5000):
        file.write_bytes(b"a\n" + long + b"\nb\n" + long)
        kept = long if len(long) <= 1000 - 1 else None
        found = list(lines(file))
        assert [number for number, _ in found] == [1, 2, 3, 4] and found[0][1] == b"a" and found[2][1] == b"b"
        assert (found[1][1] is None) == (len(long) > 1000) and (kept is None or found[1][1] == long)


@pytest.mark.parametrize(
    "line",
    [
        b"__import__('os').system('true')",
        b"{'asin': open('x')}",
        b"{'asin': (lambda: 1)()}",
        b"-" * 100_000 + b"1",
        b"- " * 100_000 + b"1",
        b"[" * 100_000,
        b"[" * 100 + b"]" * 100,
        b"{1:" * 50_000,
        b"1+" * 60_000 + b"1",
        b"'\\" * 60_000,
        b'"' * 60_001,
        b"{'a': " + b"9" * 10_000 + b"}",
        b"{[]: 1}",
        b"{'a': 1",
        b"{'a': b'\xff'}",
        b"{'a': 'x' * 10}",
        b"()" * 60_000,
        b"[1, 2]",
        b"{'a': '" + b"x" * (256 << 10) + b"'}",
    ],
    ids=range(19),
)
def test_a_hostile_literal_is_a_reject(line):
    with pytest.raises(Unusable):
        records.from_literal(line)


def test_a_literal_is_read_with_whatever_text_holds():
    for value in (
        ITEM_2014,
        {"a": "it's [[[ \\ -- not open('x')", 'b"': [None, True, -1.5, 1e-7, ("x",)]},
        {"a": "-" * 500},
    ):
        assert records.from_literal(repr(value).encode()) == value


def test_photos_are_found_by_item_id_at_any_depth(tmp_path):
    write(
        tmp_path, [{**ITEM_2023, "parent_asin": asin(n)} for n in range(4)], [{**REVIEW_2023, "parent_asin": asin(0)}]
    )
    for place, content in ((f"{asin(0)}.jpg", b"0"), (f"a/b/{asin(1)}.PNG", b"1"), (f"a/{asin(2)}.txt", b"?")):
        file = tmp_path / "photos" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (tmp_path / f"photos/z{asin(0)}.jpg").write_bytes(b"no")
    (tmp_path / f"photos/z/{asin(0)}.png").parent.mkdir()
    (tmp_path / f"photos/z/{asin(0)}.png").write_bytes(b"later")
    (tmp_path / "photos" / f"{asin(3)}.gif").mkdir()
    items, *_ = given(tmp_path, photos="photos")

    def read(name):
        try:
            return items[name].image()
        except Unusable as fault:
            return fault.reason

    assert [read(asin(n)) for n in range(4)] == [b"0", b"1", "no image", "no image"]


def test_both_iterators_start_again_and_two_readings_agree(tmp_path):
    write_lists(tmp_path, "2018", items=50, reviews=400)
    source, other = opened(tmp_path, k_core=2), opened(tmp_path, k_core=2)
    once, again, elsewhere = [*source.purchases()], [*source.purchases()], [*other.purchases()]
    assert len(once) > 50 and once == again == elsewhere
    names = [[entry.item_id for entry in source.items()] for _ in "ab"]
    assert names[0] == names[1] and len(names[0]) > 10


def test_memory_holds_no_rows(tmp_path):
    """Nine times as many reviews of the same items and users: what is held grows by two numbers each."""
    most = {}
    for count in (1_000, 9_000):
        write(tmp_path, [ITEM_2023], ({**REVIEW_2023, "timestamp": 10**12 + 1000 * n} for n in range(count)))
        tracemalloc.start()
        source = opened(tmp_path)
        assert sum(1 for entry in source.purchases() if isinstance(entry, RawPurchase)) == count
        most[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most[9_000] - most[1_000] < 8_000 * 100, "a review in Python's own objects takes some 500 bytes"


def run(tmp_path, monkeypatch, **changes):
    """Ingest and sets in a folder of its own; the project."""
    monkeypatch.chdir(tmp_path)
    settings = make_settings({"source.name": "amazon_reviews", "source.path": "raw", "sets.least_items": 2, **changes})
    print(ingest(Project(), settings))
    make_sets(Project(), settings)
    return Project()


@pytest.mark.parametrize("release", RELEASES)
def test_lists_and_photos_become_sets(tmp_path, monkeypatch, capsys, release):
    raw = tmp_path / "raw"
    write_lists(raw, release, items=40, reviews=300)
    for number in range(30):
        (raw / "photos" / f"{asin(number)}.png").write_bytes(picture(number))
    (raw / "meta_X.json.gz").write_bytes((raw / "meta_X.json.gz").read_bytes() + gzip.compress(b"{'cut\n"))
    settings = {"amazon_reviews.photos": "photos", "amazon_reviews.least_category": 3}
    project = run(tmp_path, monkeypatch, **settings)
    rows = [json.loads(line) for line in gzip.decompress((raw / "reviews_X.json.gz").read_bytes()).splitlines()]
    names = ("user_id", "parent_asin") if release == "2023" else ("reviewerID", "asin")
    catalogue = Catalogue.open(project.catalogue)
    purchases = catalogue.table("purchases").read()
    assert Counter(purchases["item_id"]) == Counter(row[names[1]] for row in rows)
    assert Counter(purchases["user_id"]) == Counter(row[names[0]] for row in rows)
    items = catalogue.table("items").read()
    assert len(items) == 40 and items["image"].null_count() == 10
    assert items["categories"].to_list() == [[path(number)] for number in range(40)]
    description = json.loads(project.description.read_text())
    assert description["rejects"]["image: no image"] == 10 and description["sets"]["train"]["sets"] > 10
    reason = "not a literal: cut or damaged" if release == "2014" else "not JSON: cut or damaged"
    said = capsys.readouterr().out
    assert f"1 item: {reason}" in said and "10 image: no image" in said
    told = pl.read_csv(project.catalogue / "rejects.csv").filter(pl.col("reason") == reason)
    assert told.select("stage", "file", "line").rows() == [("item", "meta_X.json.gz", 41)]
    before = {file.name: file.read_bytes() for file in project.catalogue.iterdir()}
    run(tmp_path, monkeypatch, **settings)
    assert {file.name: file.read_bytes() for file in project.catalogue.iterdir()} == before
    assert sorted(file.name for file in (tmp_path / "data").iterdir() if file.name.startswith(".")) in ([], [".lock"])


def test_too_many_faults_stop_with_their_reasons(tmp_path, monkeypatch):
    write_lists(tmp_path / "raw", "2023", items=8, reviews=6)
    lines_of = [REVIEW_2023] * 2 + [{**REVIEW_2023, "timestamp": "2020"}] * 3
    file = tmp_path / "raw/reviews_X.json.gz"
    file.write_bytes(file.read_bytes() + gzip.compress(b"".join(spelt(row) + b"\n" for row in lines_of)))
    with pytest.raises(SourceError) as refused:
        run(tmp_path, monkeypatch, **{"amazon_reviews.photos": "photos"})
    line = str(refused.value)
    assert re.search(r"raw: 3 of 11 purchases cannot be used, more than source.most_rejects \(0.2\) allows: ", line)
    assert "3 the time is not in milliseconds since 1970" in line and "\n" not in line
    assert not (tmp_path / "data/catalogue").exists()


def test_a_reject_cannot_become_a_formula(tmp_path):
    tally = Tally(most_kept=2)
    for number in range(5):
        tally.add(Reject("item", "=1+1", "no\ttitle", value="@a\nb" * 100, line=number))
    frame = tally.frame()
    assert frame["id"].to_list() == ["'=1+1"] * 2 and tally.count_frame()["count"].to_list() == [5]
    assert all(value.startswith("'@a b") and len(value) <= 101 for value in frame["value"])
    assert [reject.count for reject in tally.rest()] == [1, 1, 3]
