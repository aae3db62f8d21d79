"""The DVBPR reader: right on every way such a file is written, and harmless on every file that means harm."""

import io
import pickle
import struct
import subprocess
import sys
import tracemalloc
from collections import defaultdict

import numpy as np
import pytest

from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest.dvbpr.source import DVBPR
from pipeline.ingest.dvbpr.unpickle import LONGEST_STRING
from pipeline.ingest.raw import RawItem, RawPurchase, Reject
from tests.support.images import jpeg

HEADER = io.BytesIO()
np.lib.format.write_array_header_1_0(HEADER, {"descr": "|O", "fortran_order": False, "shape": (6,)})
HEADER = HEADER.getvalue()
PATHS = [["Clothing & Jewelry", "Women", "Dresses"], ["Clothing & Jewelry", "Ночь"]]


RED, BLUE = jpeg(0), jpeg(1)
assert min(len(RED), len(BLUE)) > LONGEST_STRING, "images must be long enough to stay in the file"


def review(user, index, time):
    return {"reviewerID": user, "asin": f"B{index}", "productid": index, "overall": 5.0, "unixReviewTime": time}


def content(key=str.encode, table=dict):
    """Three items (the last without an image) and two users; `key` spells the items' keys and words."""

    def item(number, **fields):
        record = {"asin": key(f"B{number}"), "categories": [[key(name) for name in path] for path in PATHS], **fields}
        return {key(name): value for name, value in record.items()}

    items = {2: item(2), 0: item(0, imgs=RED, title=key("Red " * 300)), 1: item(1, imgs=BLUE, title=key("Blue"))}
    train = {1: [review("Anna", 1, 30)], 0: [review("Zoe", 0, 10), review("Zoe", 1, 2**40)]}
    tables = [train, {0: [review("Zoe", 2, 20)], 1: []}, {0: [review("Zoe", 0, 5)], 1: [review("Anna", 2, 40)]}, items]
    return [*(table(part) for part in tables), 2, 3]


def as_list(part):
    return [part[index] for index in range(len(part))]


def as_array(part):
    array = np.empty(len(part), dtype=object)
    array[:] = as_list(part)
    return array


def op(value):
    """Spells a value as Python 2's pickle protocol 2 did."""
    if isinstance(value, bytes):
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"I%d\n" % value
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, dict):
        return b"}(" + b"".join(op(part) for pair in value.items() for part in pair) + b"u"
    return b"N" if value is None else b"](" + b"".join(map(op, value)) + b"e"


def array_op(size, elements):
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K" + bytes([size]) + b"\x85"
        b"cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK?tb\x89" + elements + b"tb"
    )


def write(path, stream):
    path.write_bytes(HEADER + stream)
    return path


def write_python2(path, entries):
    return write(path, b"\x80\x02" + array_op(6, op(entries)) + b".")


def write_python3(path, entries, protocol):
    return write(path, pickle.dumps(as_array(entries), protocol))


WRITERS = {
    "python 2": lambda path: write_python2(path, content()),
    "python 2, text": lambda path: write_python2(path, content(str)),
    "python 2, lists": lambda path: write_python2(path, content(table=as_list)),
    **{f"protocol {n}": lambda path, n=n: write_python3(path, content(), n) for n in (2, 3, 4, 5)},
    **{f"protocol {n}, text": lambda path, n=n: write_python3(path, content(str), n) for n in (2, 3, 4, 5)},
    "lists": lambda path: write_python3(path, content(table=as_list), 4),
    "arrays": lambda path: write_python3(path, content(table=as_array), 4),
    "defaultdicts": lambda path: write_python3(path, content(table=lambda part: defaultdict(list, part)), 2),
    "keys as text": lambda path: write_python3(path, content(table=lambda p: {str(k): v for k, v in p.items()}), 4),
    "numpy.save": lambda path: np.save(path, np.array(content(), dtype=object), allow_pickle=True) or path,
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_every_writer_gives_the_same_catalogue(tmp_path, writer):
    source = DVBPR(writer(tmp_path / "fashion.npy"))
    for _ in range(2):  # the iterators can be started again
        items, purchases = list(source.items()), list(source.purchases())
        assert [item.item_id for item in items] == ["B0", "B1", "B2"]
        assert [item.title for item in items] == [("Red " * 300).strip(), "Blue", ""]
        assert all(item.categories == PATHS for item in items)
        assert [item.image and item.image() for item in items] == [RED, BLUE, None]
        assert purchases == [
            RawPurchase("Zoe", "B0", 10, "train"),
            RawPurchase("Zoe", "B1", 2**40, "train"),
            RawPurchase("Zoe", "B2", 20, "validation"),
            RawPurchase("Zoe", "B0", 5, "test"),
            RawPurchase("Anna", "B1", 30, "train"),
            RawPurchase("Anna", "B2", 40, "test"),
        ]


def test_an_array_of_rows_is_a_list_of_lists(tmp_path):
    entries = content()
    entries[1] = np.array([[review("Zoe", 0, 1)], [review("Anna", 1, 2)]], dtype=object)
    source = DVBPR(write_python3(tmp_path / "rows.npy", entries, 4))
    validation = [(entry.user_id, entry.time) for entry in source.purchases() if entry.source_split == "validation"]
    assert validation == [("Zoe", 1), ("Anna", 2)]
    entries[1] = np.array([[{}, {}], [{}, {}]], dtype=object, order="F")
    with pytest.raises(SourceError, match="Fortran"):
        DVBPR(write_python3(tmp_path / "columns.npy", entries, 4))


def test_a_folder_stands_for_its_only_file(tmp_path):
    with pytest.raises(SourceError, match=r"no \.npy file"):
        DVBPR(tmp_path)
    write_python2(tmp_path / "men.npy", content())
    assert len(list(DVBPR(tmp_path).items())) == 3
    write_python2(tmp_path / "women.npy", content())
    with pytest.raises(SourceError, match=r"men\.npy, women\.npy"):
        DVBPR(tmp_path)


def test_malformed_records_are_rejected_and_the_rest_is_read(tmp_path):
    entries = content()
    entries[3].update({3: {b"imgs": RED}, 4: "no record", 5: {b"asin": [1]}, 6: {b"asin": b"B6", b"categories": 7}})
    entries[3].update({7: {b"asin": b"B7", b"imgs": 5, b"categories": [b"A", b" B "]}, 8: {b"categories": [[], [1]]}})
    bad = [7, {"asin": "B0"}, {"productid": 99, "asin": "B99", "unixReviewTime": 1}, {"unixReviewTime": 1}]
    bad += [{"productid": [], "unixReviewTime": 1}, {"asin": "B1", "unixReviewTime": "soon"}]
    entries[0] = {5: bad, 6: "nothing", 7: {"asin": b"B1", "unixReviewTime": 8}}
    source = DVBPR(write_python3(tmp_path / "odd.npy", entries, 4))
    items = list(source.items())[3:]
    assert items[0].item_id == "3" and items[0].categories == [] and items[0].image() == RED
    rejects = [(item.stage, item.item_id) for item in items if isinstance(item, Reject)]
    assert rejects == [("item", "4"), ("item", "5"), ("item", "B6"), ("item", "8")]
    odd = next(item for item in items if isinstance(item, RawItem) and item.item_id == "B7")
    assert odd.categories == [["A", "B"]]
    with pytest.raises(Unusable, match="not a byte string"):
        odd.image()
    purchases = [entry for entry in source.purchases() if isinstance(entry, Reject) or entry.source_split == "train"]
    assert purchases[:3] == [
        Reject("purchase", "", "not a record", "odd.npy", field="train", value="5"),
        Reject("purchase", "B0", "no time", "odd.npy", field="unixReviewTime"),
        Reject("purchase", "B99", "the item is not in the file", "odd.npy", field="productid", value="99"),
    ]
    assert all(isinstance(entry, Reject) for entry in purchases[3:-1]) and len(purchases) == 8
    assert purchases[-1] == RawPurchase("7", "B1", 8, "train")


def test_an_image_that_is_gone_is_unusable_and_not_fatal(tmp_path):
    path = write_python2(tmp_path / "fashion.npy", content())
    image = next(DVBPR(path).items()).image
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(Unusable, match="shorter"):
        image()
    path.unlink()
    with pytest.raises(Unusable, match="cannot be read"):
        image()


TOUCH = b"U%c%s" % (len("touch MARK"), b"touch MARK")
PUT = b"\x80\x02"
FORBIDDEN = {  # what a reader that obeys would run, and the name or instruction that the refusal must show
    "os.system": (b"cos\nsystem\n" + TOUCH + b"\x85R", "os.system"),
    "posix.system": (b"cposix\nsystem\n" + TOUCH + b"\x85R", "posix.system"),
    "eval": (b"c__builtin__\neval\n" + op(b"open('MARK', 'w')") + b"\x85R", "__builtin__.eval"),
    "stack": (b"\x8c\x02os\x8c\x06system\x93" + TOUCH + b"\x85R", "os.system"),
    "nested getattr": (b"\x8c\x07_codecs\x8c\x12encode.__globals__\x93", "_codecs.encode.__globals__"),
    "getattr": (b"c__builtin__\ngetattr\n", "__builtin__.getattr"),
    "scalar": (b"cnumpy.core.multiarray\nscalar\n", "numpy.core.multiarray.scalar"),
    "two lines": (b"\x8c\x05os\nos\x8c\x06system\x93", r"os\\nos.system"),
    "inst": (b"(" + TOUCH + b"ios\nsystem\n", "os.system"),
    "inst of ours": (b"(i_codecs\nencode\n", "INST"),
    "obj": (b"(c_codecs\nencode\no", "OBJ"),
    "newobj": (b"c_codecs\nencode\n)\x81", "NEWOBJ"),
    "newobj_ex": (b"c_codecs\nencode\n)}\x92", "NEWOBJ_EX"),
    "ext1": (b"\x82\x01", "EXT1"),
    "ext2": (b"\x83\x01\x00", "EXT2"),
    "ext4": (b"\x84\x01\x00\x00\x00", "EXT4"),
    "persid": (b"P1\n", "PERSID"),
    "binpersid": (b"K\x01Q", "BINPERSID"),
    "codec": (b"c_codecs\nencode\n" + op("cos\nsystem\n.") + op("rot13") + b"\x86R", "encodes text otherwise"),
    "bytes of a terabyte": (b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R", "damaged"),
    "calling a marker": (b"cbuiltins\nlist\n)R", "damaged"),
    "state of a dict": (b"}}b", "state of something"),
    "state of a name": (b"ccollections\ndefaultdict\nN}\x86b", "state of something"),
    "number array": (array_op(1, op([1])).replace(b"O8", b"f8"), "type f8"),
}
DAMAGED = {  # where the name begins with an article, it is what the message must say
    "empty": b"",
    "memo": b"Nr\xff\xff\xff\xff" + b"j\xff\xff\xff\x7f",
    "put": b"Np99999999999999999999\n0h\x07",
    "long4": b"\x8b\xff\xff\xff\x7f",
    "a string of 4611686018427387904 bytes": b"\x8e" + bytes(7) + b"@",
    "a string of 18446744073709551615 bytes": b"\x8d" + b"\xff" * 8,
    "a string of 2147483647 bytes": b"T\xff\xff\xff\x7f",
    "a string of -1 bytes": b"T\xff\xff\xff\xff",
    "a frame of 9223372036854775807 bytes": b"\x95" + b"\xff" * 7 + b"\x7f",
    "bytearray8": b"\x96" + b"\xff" * 7 + b"\x7f",
    "endless line": b"c" + b"x" * 100_000,
    "unknown instruction": b"\xfe",
    "endless integer": b"L" + b"9" * 400 + b"9" * 5000 + b"L\n.",
    "shape": array_op(255, op([1])) + b".",
    "not UTF-8": b"X\x02\x00\x00\x00\xff\xfe.",
    "hash bomb": b"K\x01" + b"2\x86" * 60 + b"q\x01}h\x01K\x01s.",
    "no mark": b"e.",
    "nothing to stop at": b".",
}


@pytest.mark.parametrize(("stream", "named"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_not_data_is_refused_by_name_and_not_run(tmp_path, monkeypatch, stream, named):
    monkeypatch.chdir(tmp_path)
    for end in (b".", b"0" + array_op(6, op(content())) + b"."):  # as the whole, and thrown away before a good array
        path = write(tmp_path / "bad.npy", PUT + stream + end)
        with pytest.raises(SourceError, match=named) as caught:
            DVBPR(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert not (tmp_path / "MARK").exists()


@pytest.mark.parametrize(("name", "stream"), DAMAGED.items(), ids=DAMAGED)
def test_damage_is_one_line_and_costs_no_memory(tmp_path, name, stream):
    path = write(tmp_path / "bad.npy", PUT + stream)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"damaged or truncated|BYTEARRAY8") as caught:
            DVBPR(path)
        assert "\n" not in str(caught.value) and (name in str(caught.value) or not name.startswith("a "))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["python 2", "protocol 2", "protocol 5"])
def test_a_file_cut_anywhere_is_damaged(tmp_path, name):
    whole = WRITERS[name](tmp_path / "whole.npy").read_bytes()
    for cut in range(len(HEADER), len(whole), 37):
        (tmp_path / "cut.npy").write_bytes(whole[:cut])
        with pytest.raises(SourceError, match="damaged or truncated"):
            DVBPR(tmp_path / "cut.npy")


def test_files_of_another_kind_are_told_from_damaged_ones(tmp_path):
    path = tmp_path / "other.npy"
    for data in (b"", b"item_id,image\n", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", b"\x93NUMPY\x09\x00\x00\x00"):
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"not an \.npy file"):
            DVBPR(path)
    np.save(path, np.zeros(3))
    with pytest.raises(SourceError, match="float64; expected an array of objects"):
        DVBPR(path)
    np.save(path, np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"expected \[user_train"):
        DVBPR(path)
    with pytest.raises(SourceError, match="pickled dict"):
        DVBPR(write(path, pickle.dumps({})))
    with pytest.raises(SourceError, match="no such file"):
        DVBPR(tmp_path / "missing.npy")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads its peak memory from /proc")
def test_memory_does_not_grow_with_the_images(tmp_path):
    """Three megabytes of images and sixty: the reader's peak is the same within two megabytes."""
    program = (  # prints KiB
        "import sys; from pathlib import Path; from pipeline.ingest.dvbpr.source import DVBPR\n"
        "assert sum(len(item.image()) for item in DVBPR(Path(sys.argv[1])).items()) > 0\n"
        # Not getrusage, whose peak begins with the memory of the process that started this one.
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    peaks = []
    for size in (3_000, 60_000):
        items = {i: {b"asin": b"B%d" % i, b"imgs": RED.ljust(size, b"\0")} for i in range(1000)}
        path = write_python2(tmp_path / f"{size}.npy", [{}, {}, {}, items, 0, 1000])
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 2 << 10, peaks
