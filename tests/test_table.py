"""The table reader: CSV and Parquet alike, a reason for every row left out, and no file outside the folder."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest.moments import UNKNOWN
from pipeline.ingest.raw import RawItem, RawPurchase, Reject
from pipeline.ingest.table import TableSource

ITEMS = {
    "item_id": ["007", " b ", ""],
    "image": ["photos/a.jpg", None, "photos/a.jpg"],
    "categories": ["Clothing > Women>Dresses |Sale", " | > ", "Hats"],
    "title": ["Red, long", None, "x"],
}
PURCHASES = {
    "user_id": ["01", "01", "u2", "", "u2", "u2", "u2", "u2"],
    "item_id": ["007", "b", "b", "b", None, "b", "b", "b"],
    "time": ["1300000000", "1970-01-02", "1970-01-01T02:00:00+01:00", "1", "1", "soon", "", "-5"],
    "split": ["train", "test", "", "train", "train", "train", "train", "Trian"],
}


def fill(folder, suffix="csv", items=ITEMS, purchases=PURCHASES):
    for name, table in (("items", items), ("purchases", purchases)):
        frame = pl.DataFrame(table)
        getattr(frame, f"write_{suffix}")(folder / f"{name}.{suffix}")
    (folder / "photos").mkdir(exist_ok=True)
    (folder / "photos" / "a.jpg").write_bytes(b"image")
    return folder


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_both_formats_give_the_same_catalogue(tmp_path, suffix):
    source = TableSource(fill(tmp_path, suffix))
    for _ in range(2):  # the iterators can be started again
        dress, plain, nameless = source.items()
        assert (dress.item_id, dress.title, dress.image()) == ("007", "Red, long", b"image")
        assert dress.categories == [["Clothing", "Women", "Dresses"], ["Sale"]]
        assert plain == RawItem("b", [], "", None)
        first = 2 if suffix == "csv" else 1  # a line of a file that has a header, or a row
        at = {"file": f"items.{suffix}", "line": first}
        assert [{"file": item.file, "line": item.line} for item in (dress, plain)] == [at, {**at, "line": first + 1}]
        assert nameless == Reject("item", "", "no item_id", f"items.{suffix}", first + 2, "item_id")
        assert list(source.purchases()) == [
            RawPurchase("01", "007", 1_300_000_000, "train"),
            RawPurchase("01", "b", 86_400, "test"),
            RawPurchase("u2", "b", 3600, None),
            *(
                Reject("purchase", item_id, reason, f"purchases.{suffix}", first + row, field, value)
                for row, item_id, reason, field, value in (
                    (3, "b", "no user_id", "user_id", ""),
                    (4, "", "no item_id", "item_id", ""),
                    (5, "b", UNKNOWN, "time", "soon"),
                    (6, "b", "no time", "time", ""),
                    (7, "b", "split is none of train, validation, test", "split", "Trian"),
                )
            ),
        ]


def test_title_and_split_may_be_left_out(tmp_path):
    items = {name: ITEMS[name] for name in ("categories", "image", "item_id")}  # in any order
    purchases = {name: PURCHASES[name] for name in ("time", "item_id", "user_id")}
    source = TableSource(fill(tmp_path, "csv", items, purchases))
    assert next(source.items()).title == ""
    assert next(source.purchases()) == RawPurchase("01", "007", 1_300_000_000, None)


@pytest.mark.parametrize(
    "times",
    [
        [86_400, None],
        [86_400.0, None],
        [date(1970, 1, 2), None],
        [datetime(1970, 1, 2), None],
        [datetime(1970, 1, 2, tzinfo=UTC), None],
    ],
    ids=["whole", "float", "date", "datetime", "zoned"],
)
def test_parquet_times_of_every_type(tmp_path, times):
    purchases = {"user_id": [1, 2], "item_id": [7, 8], "time": times}
    assert list(TableSource(fill(tmp_path, "parquet", ITEMS, purchases)).purchases()) == [
        RawPurchase("1", "7", 86_400),
        Reject("purchase", "8", "no time", "purchases.parquet", 2, "time"),
    ]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2011-03-13 07:06:40", 1_300_000_000),
        ("2011-03-13T07:06:40Z", 1_300_000_000),
        ("2011-03-13T07:06:40.9", 1_300_000_000),
        ("1969-12-31", -86_400),
        ("1_000", None),
        ("１２", None),
        ("9" * 30, None),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200),
        ("13/03/2011", None),
        ("nan", None),
    ],
)
def test_times_as_text(tmp_path, time, seconds):
    (purchase,) = TableSource(
        fill(tmp_path, "csv", ITEMS, {"user_id": ["u"], "item_id": ["b"], "time": [time]})
    ).purchases()
    assert purchase == RawPurchase("u", "b", seconds) if seconds is not None else isinstance(purchase, Reject)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("../secret.jpg", "leaves"),
        ("photos/../../secret.jpg", "leaves"),
        ("..", "leaves"),
        ("{folder}/../secret.jpg", "leaves"),
        ("{folder}/photos/a.jpg", "leaves"),
        ("photos/b.jpg", "missing"),
        ("photos", "missing"),
        ("a\0b", "missing|cannot be read"),
        ("x" * 300, "missing|cannot be read"),
    ],
)
def test_images_that_cannot_be_read(tmp_path, image, reason):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "data").mkdir()
    items = {"item_id": ["a"], "image": [image.format(folder=tmp_path / "data")], "categories": [""]}
    (item,) = TableSource(fill(tmp_path / "data", "parquet", items)).items()
    with pytest.raises(Unusable, match=reason):
        item.image()


def test_image_names_that_only_look_as_if_they_left(tmp_path):
    items = {"item_id": [1, 2], "image": ["photos/../photos/a.jpg", "..a.jpg"], "categories": ["", ""]}
    fill(tmp_path, "csv", items)
    (tmp_path / "..a.jpg").symlink_to(tmp_path / "photos" / "a.jpg")  # as DVC may lay out a folder
    assert [item.image() for item in TableSource(tmp_path).items()] == [b"image", b"image"]


def break_missing_column(folder):
    pl.DataFrame({"item_id": ["1"], "photo\n": ["a"]}).write_csv(folder / "items.csv")


def break_wrong_type(folder):
    (folder / "items.csv").unlink()
    pl.DataFrame({**ITEMS, "categories": [["a"], ["b"], []]}).write_parquet(folder / "items.parquet")


def break_parquet(folder):
    (folder / "items.csv").rename(folder / "items.parquet")


FAULTS = {
    "no items": (lambda folder: (folder / "items.csv").unlink(), r"items\.csv or items\.parquet; neither"),
    "no purchases": (lambda folder: (folder / "purchases.csv").unlink(), r"purchases\.csv or .*neither"),
    "both": (lambda folder: pl.DataFrame(ITEMS).write_parquet(folder / "items.parquet"), "both are there"),
    "column": (break_missing_column, "no column image, categories; expected item_id, .*found .*item_id, photo"),
    "type": (break_wrong_type, "column categories holds List"),
    "empty": (lambda folder: (folder / "items.csv").write_bytes(b""), "it is empty; expected a header"),
    "photo": (
        lambda folder: (folder / "items.csv").write_bytes(b"\xff\xd8\xff\xe0" * 99),
        "line 1: byte 0xff is not UTF-8",
    ),
    "not UTF-8": (
        lambda folder: (folder / "items.csv").write_bytes(b"item_id\n\xff\n"),
        "line 2: byte 0xff is not UTF-8",
    ),
    "not Parquet": (break_parquet, "not a readable parquet file"),
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
def test_a_folder_that_is_no_catalogue_is_one_line(tmp_path, fault, said):
    fault(fill(tmp_path))
    with pytest.raises(SourceError, match=said) as caught:
        TableSource(tmp_path)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


def test_a_missing_folder(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        TableSource(tmp_path / "nowhere")
