"""The records of a DVBPR file leave memory as they are read, and come back as if they had not."""

import errno
import io
import pickle
import pickletools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import SourceError
from pipeline.ingest.dvbpr import content as reading
from pipeline.ingest.dvbpr.fetched import BLOCK, count_fetched
from pipeline.ingest.dvbpr.source import DVBPR
from pipeline.ingest.dvbpr.store import Store
from tests.test_dvbpr import RED, array_op, as_array, op, review, write, write_python2, write_python3

MANY = 1200  # more than a pickler writes at once


def items(keys):
    return {key: {b"asin": b"B%d" % int(key)} for key in keys}


def ids(source):
    return [item.item_id for item in source.items()]


def bought(source):
    return [(entry.user_id, entry.item_id, entry.time, entry.source_split) for entry in source.purchases()]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("spelt", [int, str, lambda key: b"%d" % key], ids=["numbers", "text", "bytes"])
def test_tables_of_several_batches_come_back_in_order(tmp_path, protocol, spelt):
    keys = np.random.default_rng(1).permutation(MANY).tolist()
    users = {spelt(key): [review(f"u{key}", (key + 1) % MANY, key)] for key in keys}
    source = DVBPR(
        write_python3(tmp_path / "a.npy", [users, {}, users, items(map(spelt, keys)), 0, 0], protocol), tmp_path
    )
    for _ in range(2):
        assert ids(source) == [f"B{key}" for key in range(MANY)]
        assert bought(source)[2:4] == [("u1", "B2", 1, "train"), ("u1", "B2", 1, "test")]
    assert len(bought(source)) == 2 * MANY
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"], "the store has no name"


@pytest.mark.parametrize("table", [list, as_array, tuple], ids=["list", "array", "tuple"])
def test_long_tables_without_keys_come_back_in_order(tmp_path, table):
    def without_keys(part):
        return table([part[key] for key in range(len(part))] if table is not as_array else part)

    users = {key: [review(f"u{key}", key, key)] for key in range(MANY)}
    entries = [*map(without_keys, (users, {}, {}, items(range(MANY)))), 0, 0]
    source = DVBPR(write_python3(tmp_path / "a.npy", entries, 4))
    assert ids(source) == [f"B{key}" for key in range(MANY)]
    assert bought(source) == [(f"u{key}", f"B{key}", key, "train") for key in range(MANY)]


def test_names_come_behind_numbers(tmp_path):
    table = {"b": {"asin": "B"}, 7: {"asin": "7"}, b"a": {"asin": "A"}, "3": {"asin": "3"}, "Ü": {}, "": {}}
    users = {"z": [review("", "b", 1)], b"y": [review("", b"7", 1)]}
    source = DVBPR(write_python3(tmp_path / "a.npy", [users, {}, {}, table, 0, 0], 4))
    assert ids(source) == ["3", "7", "", "A", "B", "Ü"]
    assert bought(source) == [("y", "7", 1, "train"), ("z", "B", 1, "train")]


@pytest.mark.parametrize(("first", "second"), [(7, "7"), ("7", b"7"), ("07", 7), ("x", b"x")])
@pytest.mark.parametrize("between", [0, MANY])
def test_an_index_in_two_spellings_is_refused(tmp_path, first, second, between):
    table = {first: {}, **items(range(10_000, 10_000 + between)), second: {}}
    with pytest.raises(SourceError, match="the same index twice"):
        DVBPR(write_python3(tmp_path / "a.npy", [{}, {}, {}, table, 0, 0], 4))


def test_of_an_index_that_comes_again_the_last_value_stays(tmp_path):
    """No dict that is pickled has one; instructions can."""
    one = b"}(" + op(7) + op({"asin": "old"}) + op(8) + op({"asin": "B8"}) + b"u(" + op(7) + op({"asin": "new"}) + b"u"
    stream = b"\x80\x02" + array_op(6, b"](" + op({}) * 3 + one + op(1) * 2 + b"e") + b"."
    assert ids(DVBPR(write(tmp_path / "a.npy", stream))) == ["new", "B8"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_shared_is_the_same_everywhere(tmp_path, protocol):
    paths, title, one, user = [["Women", "Hats"]], "A hat" * 200, review("u", 1, 5), "a user of many purchases"
    table = {key: {"asin": f"B{key}", "categories": paths, "title": title, "imgs": RED} for key in range(MANY)}
    train = {key: [one, {**review(user, key, key), "reviewerID": user}] for key in range(MANY)}
    source = DVBPR(write_python3(tmp_path / "a.npy", [train, {0: [one]}, train, table, 0, 0], protocol))
    assert [(item.categories, item.title) for item in source.items()] == [(paths, title)] * MANY
    assert all(item.image() == RED for item in source.items())
    assert bought(source)[:5] == [
        *[("u", "B1", 5, "train"), (user, "B0", 0, "train"), ("u", "B1", 5, "validation")],
        *[("u", "B1", 5, "test"), (user, "B0", 0, "test")],
    ]


def test_a_large_array_of_rows_is_a_list_of_lists(tmp_path):
    rows = [[review(f"u{key}", 0, place) for place in range(2)] for key in range(MANY)]
    entries = [{}, np.array(rows, dtype=object), {}, items([0]), 0, 0]
    assert entries[1].shape == (MANY, 2)
    source = DVBPR(write_python3(tmp_path / "a.npy", entries, 4))
    assert bought(source) == [(f"u{key}", "B0", place, "validation") for key in range(MANY) for place in range(2)]


NAME, NESTED = b"c_codecs\nencode\n", b"](" * 3000 + b"e" * 3000
ODD = {
    "a name": (NAME, "data belong", True),
    "a name, before": (NAME, "data belong", False),
    "nested": (NESTED, "too deeply", True),
    "nested, before": (NESTED, "too deeply", False),
}


@pytest.mark.parametrize(("value", "said", "is_in_place"), ODD.values(), ids=ODD)
def test_a_record_of_no_data_is_refused_in_a_line(tmp_path, value, said, is_in_place):
    """Whether its table is made in its place, or somewhere before it is named there."""
    table = b"}q\x09(" + op(7) + b"}(" + op("asin") + value + b"uu"
    before, there = (b"", table) if is_in_place else (table + b"q\x050", b"h\x05")
    stream = b"\x80\x02" + before + array_op(6, b"](" + op({}) * 3 + there + op(1) * 2 + b"e") + b"."
    with pytest.raises(SourceError, match=said) as caught:
        DVBPR(write(tmp_path / "a.npy", stream))
    assert "\n" not in str(caught.value)


def test_a_table_that_holds_itself_gives_rejects(tmp_path):
    table = b"}q\x09(" + b"".join(op(key) + b"}(" + op("asin") + b"h\x09u" for key in range(20)) + b"u"
    stream = b"\x80\x02" + array_op(6, b"](" + op({}) * 3 + table + op(1) * 2 + b"e") + b"."
    rejects = list(DVBPR(write(tmp_path / "a.npy", stream)).items())
    assert [reject.reason for reject in rejects] == ["asin is not a short text"] * 20


@pytest.mark.parametrize("table", [dict, list, as_array, tuple], ids=["dict", "list", "array", "tuple"])
@pytest.mark.parametrize("size", [1, 1001])
def test_an_entry_that_is_set_alone_is_an_entry(tmp_path, table, size):
    """Python sets the only entry of a table, or the one that is left of a thousand, without a mark."""
    made = {dict: dict, list: lambda part: [*part.values()], as_array: as_array, tuple: lambda part: (*part.values(),)}
    reviews = [review("u", place, 1) for place in (0, 0, size - 1)]
    users = {key: reviews[:1] if key < size - 1 else as_array(dict(enumerate(reviews))) for key in range(size)}
    shown = {key: {"asin": f"B{key}", "categories": [["Hats"]]} for key in range(size)}
    last = {key: {"asin": f"B{key}"} for key in range(size)}
    for records in (shown, last):
        entries = [*map(made[table], (users, {0: [reviews[0]]}, {0: reviews}, records)), 0, 0]
        source = DVBPR(write_python3(tmp_path / "a.npy", entries, 4))
        assert ids(source) == [f"B{key}" for key in range(size)]
        assert sorted(bought(source)) == sorted(
            [("u", "B0", 1, "train")] * (size + 1)
            + [("u", f"B{size - 1}", 1, "train")]
            + [("u", "B0", 1, "validation"), ("u", "B0", 1, "test"), ("u", "B0", 1, "test")]
            + [("u", f"B{size - 1}", 1, "test")]
        )


def test_small_files_that_name_the_same_again_have_an_allowance_on_the_disk(tmp_path):
    long = b"](" + b"K\x01" * 100_000 + b"eq\x020"
    table = b"}(" + b"".join(op(key) + b"}(" + op("x") + b"h\x02u" for key in range(2000)) + b"u"
    stream = b"\x80\x02" + long + array_op(6, b"](" + op({}) * 3 + table + op(1) * 2 + b"e") + b"."
    with pytest.raises(SourceError, match="repeats so much"):
        DVBPR(write(tmp_path / "a.npy", stream))


def test_a_full_disk_is_said_as_one(tmp_path):
    store = Store(tmp_path / "a.npy", 1 << 30, tmp_path)
    store._disk.execute("PRAGMA max_page_count = 20")
    with pytest.raises(OSError) as caught:
        store.keep(1, ((key, "x" * 500) for key in range(10_000)))
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads its peak memory from /proc")
def test_memory_hardly_grows_with_the_records(tmp_path):
    """Ten times the records: today's 20 MB of them are 10 MB more at most, most of it the disk's pages."""
    program = (  # prints KiB
        "import sys; from pathlib import Path; from pipeline.ingest.dvbpr.source import DVBPR\n"
        "source = DVBPR(Path(sys.argv[1]))\n"
        "assert sum(1 for _ in source.items()) and sum(1 for _ in source.purchases())\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    peaks = []
    for size in (1500, 15_000):
        table = {i: {b"asin": b"B%d" % i, b"categories": [[b"Women", b"Hats %d" % (i % 50)]]} for i in range(size)}
        users = {i: [review(f"u{i}", i, 1), review(f"u{i}", i, 2)] for i in range(size)}
        path = tmp_path / f"{size}.npy"
        array = as_array(dict(enumerate([users, {}, {}, table, size, size])))
        np.save(path, array, allow_pickle=True)
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 16 << 10, peaks


def test_the_progress_counts_the_file_twice(tmp_path, monkeypatch):
    counted = []

    class Counted(reading.Progress):
        def __exit__(self, *raised):
            counted.append((self.done, self._total))
            super().__exit__(*raised)

    monkeypatch.setattr(reading, "Progress", Counted)
    DVBPR(write_python2(tmp_path / "a.npy", [{}, {}, {}, {i: {b"imgs": RED.ljust(99_999)} for i in range(99)}, 0, 0]))
    ((done, total),) = counted
    assert done == total == 18


QUIET = {"database": None, "derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck)}
VALUES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=600), st.binary(max_size=600), st.none(), st.floats(), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.text(max_size=9), inner),
        st.lists(inner, max_size=3).map(lambda v: [v, v, v]),
    ),
    max_leaves=60,
)


@settings(max_examples=50, **QUIET)
@given(VALUES, st.integers(1, 5), st.integers(0, 3 * BLOCK))
def test_what_is_fetched_is_counted_as_it_is_written(value, protocol, padding):
    """What lies across two blocks is read; what lies behind the pickle is not. Protocol 0 is refused anyway."""
    data = pickle.dumps([value, "x" * padding, value, [value]], protocol)
    written = Counter(
        int(argument) for code, argument, _ in pickletools.genops(data) if code.name in ("GET", "BINGET", "LONG_BINGET")
    )
    file = io.BufferedReader(io.BytesIO(data + b"h\x01."))
    assert count_fetched(file, len(data) + 3, at=lambda place: None) == written


@settings(max_examples=50, **QUIET)
@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_whatever_the_bytes_the_first_walk_ends(data, cut):
    whole = pickle.dumps([["a"] * 300, {"b": data}] * 3, 2)
    for stream in (data, whole[:cut] + data, data + whole):
        count_fetched(io.BufferedReader(io.BytesIO(stream)), len(stream), at=lambda place: None)
