"""From a source to the catalogue: every image belongs to its item, and every refusal is noted with its reason."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline import images
from pipeline.catalogue import images as images_file
from pipeline.catalogue.images import Images
from pipeline.catalogue.tables import TABLES, Catalogue
from pipeline.core import provenance
from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest import columns
from pipeline.ingest.raw import RawItem, RawPurchase, Reject
from pipeline.ingest.reading import UNLABELLED, UNPICTURED, WINDOW
from pipeline.ingest.stage import build_catalogue

PATHS = [["Clothing", "Women"], ["Sale"]]
FILES = ["catalogue.json", "counts.parquet", "images.h5", "items.parquet", "purchases.parquet"]
FILES += ["rejects.csv", "rejects.parquet"]


class MadeUp:
    """A source of what it is given."""

    def __init__(self, items, purchases):
        self.items = lambda: iter(items)
        self.purchases = lambda: iter(purchases)


def picture(number, side=4):
    """An encoded image like no other number's."""
    stream = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def item(name, image=None, categories=PATHS, title=""):
    """An item; its image is given as its bytes, an error to raise, or None."""

    def read():
        if isinstance(image, BaseException):
            raise image
        return image

    return RawItem(name, categories, title, None if image is None else read)


def bought(name, user="u", time=0, source_split=None):
    return RawPurchase(user, name, time, source_split)


def build(folder, items, purchases, threads=3):
    """The catalogue of a source: items by name, purchases, images, rejects as tuples."""
    build_catalogue(MadeUp(items, purchases), "the shop", folder, threads=threads)
    tables = {name: Catalogue.open(folder).table(name).read() for name in TABLES}
    rows = {row["item_id"]: row for row in tables["items"].to_dicts()}
    return rows, tables["purchases"].rows(), Images(folder / "images.h5"), tables["rejects"].rows()


def contents(folder):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    return {name: (folder / name).read_bytes() for name in FILES}


GOOD = ([item("a", picture(1)), item("b", picture(2))], [bought("a")])


def test_items_are_sorted_and_keep_what_the_source_says(tmp_path):
    items = [item("10", picture(1), title="Zehn"), item("9", picture(2), [["Hats"]]), item("Ä", picture(3))]
    rows, _, images, rejects = build(tmp_path / "c", items, [bought("9")])
    assert list(rows) == ["10", "9", "Ä"]
    assert rows["10"]["categories"] == PATHS and rows["10"]["title"] == "Zehn"
    assert rows["9"]["categories"] == [["Hats"]] and not rejects
    assert [images.read(rows[name]["image"]) for name in ("10", "9", "Ä")] == [picture(1), picture(2), picture(3)]


def test_items_of_the_same_picture_share_one_row(tmp_path):
    items = [item("c", picture(1)), item("a", picture(1)), item("b", picture(2)), item("d", picture(1))]
    rows, _, images, _ = build(tmp_path / "c", items, [bought("a")])
    assert len(images) == 2
    assert rows["a"]["image"] == rows["c"]["image"] == rows["d"]["image"] != rows["b"]["image"]
    assert images.read(rows["d"]["image"]) == picture(1) and images.read(rows["b"]["image"]) == picture(2)
    digests = np.array([list(provenance.digest(images.read(row))) for row in range(2)], np.uint8)
    assert (images.digests == digests).all() and images.digest() == provenance.digest_images(digests)


def test_every_refusal_is_noted_and_costs_nobody_else_anything(tmp_path):
    items = [
        item("twice", picture(1), title="the first"),
        item("twice", picture(2), title="the second"),
        item("", picture(3)),
        item("cut", picture(4, 30)[:-200]),
        item("html", b"<html>"),
        item("none"),
        item("gone", Unusable("file is missing")),
        Reject("item", "torn", "half a line"),
        item("bare", picture(5), []),
        item("hollow", picture(6), [[]]),
        item("void", b""),
        item("good", picture(7)),
    ]
    rows, purchases, images, rejects = build(tmp_path / "c", items, [bought("good")])
    assert rejects == sorted(
        [
            ("image", "cut", "damaged image: image file is truncated"),
            ("image", "gone", "file is missing"),
            ("image", "html", "not an image"),
            ("image", "none", "no image"),
            ("image", "void", "empty image"),
            ("item", "", "no item id"),
            ("item", "bare", UNLABELLED),
            ("item", "hollow", UNLABELLED),
            ("item", "torn", "half a line"),
            ("item", "twice", "item id occurs twice"),
        ]
    )
    assert sorted(rows) == ["bare", "cut", "gone", "good", "hollow", "html", "none", "twice", "void"]
    pictured = {name: images.read(row["image"]) for name, row in rows.items() if row["image"] is not None}
    assert pictured == {"twice": picture(1), "bare": picture(5), "hollow": picture(6), "good": picture(7)}
    assert rows["twice"]["title"] == "the first" and len(images) == 4, "what is refused leaves no image behind"
    assert purchases == [("u", "good", 0, None)]


def test_purchases_are_sorted_and_refused_with_a_reason(tmp_path):
    items = [*GOOD[0], item("plain")]
    purchases = [
        bought("b", "v", 5, "test"),
        bought("a", "u", 9),
        bought("b", "u", -3, "train"),
        bought("x"),
        bought("", "u"),
        bought("a", ""),
        Reject("purchase", "a", "no time"),
        bought("plain", "w", 1, "validation"),
        bought("a", "v", 5),
    ]
    _, kept, _, rejects = build(tmp_path / "c", items, purchases)
    assert kept == [
        ("u", "b", -3, "train"),
        ("u", "a", 9, None),
        ("v", "b", 5, "test"),  # of equal times, in the source's order
        ("v", "a", 5, None),
        ("w", "plain", 1, "validation"),  # it can give a label
    ]
    assert rejects == [
        ("image", "plain", "no image"),
        ("purchase", "", "unknown item"),
        ("purchase", "a", "no time"),
        ("purchase", "a", "no user id"),
        ("purchase", "plain", UNPICTURED),
        ("purchase", "x", "unknown item"),
    ]


def test_purchases_of_one_moment_keep_the_sources_order(tmp_path):
    purchases = [bought("ab"[n * n % 7 % 2], f"u{n % 3}", n % 2) for n in range(3000)]
    _, kept, *_ = build(tmp_path / "c", GOOD[0], purchases)
    expected = sorted(purchases, key=lambda purchase: (purchase.user_id, purchase.time))
    assert [row[:3] for row in kept] == [(entry.user_id, entry.item_id, entry.time) for entry in expected]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("items", "purchases", "said"),
    [
        ([item("a", b"<html>"), item("b")], [bought("a")], "no item has a usable image (2 rejects: image: not an"),
        (GOOD[0], [bought("x")], "no purchase is left (1 rejects: purchase: unknown item)"),
        ([], [], "no item has a usable image (0 rejects: the source is empty)"),
    ],
    ids=["no image", "no purchase", "nothing"],
)
def test_a_source_of_no_use_leaves_no_folder_and_an_older_one_alone(tmp_path, items, purchases, said, older):
    folder = tmp_path / "data" / "catalogue"
    before = None
    if older:
        build(folder, *GOOD)
        before = contents(folder)
    with pytest.raises(SourceError) as caught:
        build(folder, items, purchases)
    assert str(caught.value).startswith(f"the shop: {said}")
    assert [*folder.parent.iterdir()] == ([folder] if older else [])
    assert not older or contents(folder) == before


def test_an_interruption_leaves_an_older_catalogue_alone(tmp_path):
    folder = tmp_path / "catalogue"
    build(folder, *GOOD)
    before = contents(folder)
    with pytest.raises(KeyboardInterrupt):
        build(folder, [item("c", picture(3)), item("d", KeyboardInterrupt())], [bought("c")])
    assert contents(folder) == before and [*tmp_path.iterdir()] == [folder]


def test_a_new_catalogue_replaces_the_older_one_whole(tmp_path):
    build(tmp_path / "c", *GOOD)
    (tmp_path / "c" / "leftover").touch()
    rows, *_ = build(tmp_path / "c", [item("z", picture(9))], [bought("z")])
    assert list(rows) == ["z"] and len(contents(tmp_path / "c")) == 7


def test_many_items_keep_their_pictures_whoever_is_done_first(tmp_path):
    """More than a window of them, large and small mixed, some broken, some shared, named against their order."""
    count = 2 * WINDOW + 37
    sides = [60 if number % 7 == 0 else 3 for number in range(count)]
    shown = {f"{count - n:04d}": picture(n % 150, sides[n % 150]) for n in range(count) if n % 11}
    items = [item(name := f"{count - n:04d}", shown.get(name, b"broken")) for n in range(count)]
    rows, _, images, rejects = build(tmp_path / "c", items, [bought("0001")], threads=8)
    assert list(rows) == sorted(rows) and len(rows) == count
    assert {name: images.read(row["image"]) for name, row in rows.items() if row["image"] is not None} == shown
    assert rejects == sorted(("image", name, "not an image") for name in rows if name not in shown)
    assert len(images) == len(set(shown.values()))
    first_seen = list(dict.fromkeys(shown.values()))
    assert [images.read(row) for row in range(len(images))] == first_seen


def test_a_picture_that_is_there_already_is_not_decoded_again(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(images, "decode", decoded.append)
    items = [item(f"{n}", picture(1)) for n in range(3 * WINDOW)]
    build(tmp_path / "c", items, [bought("0")])
    assert 1 <= len(decoded) <= WINDOW


def test_the_same_source_gives_the_same_bytes_on_any_number_of_threads(tmp_path):
    items = [item(f"{n % 90}", picture(n % 70, 5 + n % 13) if n % 9 else b"?") for n in range(100)]
    purchases = [bought(f"{n % 95}", f"u{n % 7}", n % 3, "train") for n in range(60)]
    for threads in (1, 4):
        build(tmp_path / str(threads), items, purchases, threads)
    assert contents(tmp_path / "1") == contents(tmp_path / "4")


@pytest.mark.parametrize("in_order", [True, False])
def test_a_table_that_waits_on_the_disk_is_the_one_that_does_not(tmp_path, monkeypatch, in_order):
    """In parts of twelve rows; what came in its order, and what did not, sorted with ties in the source's order."""
    names = [f"{n:03d}" if in_order else f"{n * 37 % 101:03d}" for n in range(101)]
    items = [item(name, picture(1), [["Hats", name], []], title=name) for name in names]
    users = [(f"u{n // 9:03d}", n // 2) if in_order else (f"u{n % 7}", n % 3) for n in range(200)]
    purchases = [bought(f"{n * 7 % 101:03d}", user, time, "test") for n, (user, time) in enumerate(users)]
    in_memory = build(tmp_path / "memory", items, purchases)
    monkeypatch.setattr(columns, "BLOCK", 4)
    monkeypatch.setattr(columns, "BLOCKS_A_PART", 3)
    on_disk = build(tmp_path / "disk", items, purchases)
    assert on_disk[0] == in_memory[0] and on_disk[1] == in_memory[1] and len(on_disk[1]) == 200
    build(tmp_path / "again", items, purchases)
    assert contents(tmp_path / "disk") == contents(tmp_path / "again")


def test_images_larger_and_smaller_than_the_buffer_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(images_file, "WRITE_BUFFER", 1000)
    pictures = {f"{n:02d}": picture(n, side) for n, side in enumerate([3, 40, 5, 17, 17, 60, 3, 18, 30, 4])}
    rows, _, images, _ = build(tmp_path / "c", [item(*pair) for pair in pictures.items()], [bought("03")])
    assert {name: images.read(row["image"]) for name, row in rows.items()} == pictures
    sizes = [len(data) for data in pictures.values()]
    assert max(sizes) > 10_000 and min(sizes) < 500
