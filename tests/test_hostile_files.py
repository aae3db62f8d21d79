"""Files that are small and become large, or that are no files: one line each, or one refused item."""

import io
import os
import struct
import threading

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.core.errors import SourceError, Unusable
from pipeline.images import MAX_PIXELS, PixelBudget, decode
from pipeline.ingest.dvbpr.source import DVBPR
from pipeline.ingest.table import TableSource
from tests.test_dvbpr import array_op, op, write


def raw(path, shared, tables):
    """Six entries, of which some name a list made before by its number, 3."""
    parts = b"".join(b"h\x03" if table == "shared" else op(table) for table in tables)
    return DVBPR(write(path, b"\x80\x02" + shared + b"q\x030" + array_op(6, b"](" + parts + b"e") + b"."))


def drain(entries):
    return sum(1 for _ in entries)


def test_items_that_share_long_categories_have_an_allowance(tmp_path):
    names = b"](](" + op("x" * 250) + b"q\x01" + b"h\x01" * 998 + b"eeq\x02"
    items = b"".join(b"}(" + op("asin") + op(f"B{i}") + op("categories") + b"h\x02u" for i in range(1000))
    source = raw(tmp_path / "a.npy", names + b"0](" + items + b"e", [{}, {}, {}, "shared", 0, 1000])
    with pytest.raises(SourceError, match="repeats so much"):
        drain(source.items())


def test_users_that_share_purchases_have_an_allowance(tmp_path):
    purchases = b"](" + b"N" * 1000 + b"eq\x02"
    source = raw(tmp_path / "a.npy", purchases + b"0](" + b"h\x02" * 1000 + b"e", ["shared", {}, {}, {}, 0, 0])
    with pytest.raises(SourceError, match="repeats so much"):
        drain(source.purchases())


def test_arrays_that_share_their_elements_have_an_allowance(tmp_path):
    elements = b"](" + b"N" * 20_000 + b"eq\x02"
    one = array_op(1, b"h\x02").replace(b"(K\x01K\x01\x85", b"(K\x01M" + struct.pack("<H", 20_000) + b"\x85")
    with pytest.raises(SourceError, match="copies the same things"):
        raw(tmp_path / "a.npy", elements + b"0](" + one * 100 + b"e", ["shared", {}, {}, {}, 0, 0])


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse", "loop", "folder"])
def test_what_is_no_image_file_is_refused_and_never_waited_for(tmp_path, kind):
    name = tmp_path / "a.jpg"
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "device":
        name.symlink_to("/dev/zero")
    elif kind == "sparse":
        with name.open("wb") as file:
            file.truncate(30 << 30)
    elif kind == "loop":
        name.symlink_to(name)
    else:
        name.mkdir()
    pl.DataFrame({"item_id": ["a"], "image": ["a.jpg"], "categories": [""]}).write_csv(tmp_path / "items.csv")
    pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "time": ["1"]}).write_csv(tmp_path / "purchases.csv")
    (item,) = TableSource(tmp_path).items()
    with pytest.raises(Unusable, match=r"missing|cannot be read|more than 64 MiB"):
        item.image()


@pytest.mark.parametrize("rows", [3_000_000, 20_000])
def test_a_small_parquet_of_many_rows_or_much_text_is_refused(tmp_path, rows):
    text = "x" * (1 if rows > 1_000_000 else 20_000)
    items = pl.DataFrame({"item_id": ["a"], "image": [""]}).with_columns(categories=pl.lit(text))
    items.select(pl.all().repeat_by(rows).explode()).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "time": ["1"]}).write_csv(tmp_path / "purchases.csv")
    with pytest.raises(SourceError, match=r"rows in|repeats so much") as caught:
        TableSource(tmp_path)
    assert "\n" not in str(caught.value)


def test_scans_and_exif_are_counted_before_anything_is_decoded():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(Unusable, match="more than 100 scans"):
        decode(data[:-2] + scan * 1000 + data[-2:])
    segment = b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65533, b"\0")
    with pytest.raises(Unusable, match="1 MiB of Exif"):
        decode(data[:2] + segment * 17 + data[2:])
    decode(data)


def test_pixels_under_way_wait_for_each_other_and_a_large_image_goes_alone():
    budget, inside, most, order = PixelBudget(100), [], [], []

    def work(pixels):
        with budget.take(pixels):
            inside.append(min(pixels, 100))
            most.append(sum(inside))
            inside.remove(min(pixels, 100))
            order.append(pixels)

    threads = [threading.Thread(target=work, args=(pixels,)) for pixels in [60, 60, 500, 1, 100, 30] * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(order) == 30 and max(most) <= 100
    with pytest.raises(ZeroDivisionError), budget.take(MAX_PIXELS):
        raise ZeroDivisionError
    with budget.take(100):
        assert not inside


def test_an_id_that_is_no_id_costs_its_row(tmp_path):
    """A file that is one endless line is a single item whose id is the line."""
    long = "x" * 100_000
    (tmp_path / "items.csv").write_text(f"item_id,image,categories\n{long},,\na,,\nb\0,,\n")
    (tmp_path / "purchases.csv").write_text(f"user_id,item_id,time\n{long},a,1\nu,{long},1\nu,a,1\n")
    source = TableSource(tmp_path)
    items, purchases = list(source.items()), list(source.purchases())
    assert [type(entry).__name__ for entry in items] == ["Reject", "RawItem", "RawItem"]
    assert [type(entry).__name__ for entry in purchases] == ["Reject", "Reject", "RawPurchase"]
    assert all("more than 512 characters" in entry.reason and len(entry.item_id) <= 100 for entry in purchases[:2])
