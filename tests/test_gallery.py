"""The gallery: images and weights that belong to their user, and users whom nobody chose by eye."""

import base64
import io
import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline import catalogue, gallery, images
from pipeline.errors import StageError, Unusable
from tests.conftest import bank, jpeg

PAIRS = [("b0", "average"), ("b0", "noisy_or"), ("b1", "average")]
USERS = 20
SCORES = {
    "set_id": pl.String,
    "seed": pl.Int64,
    "best": pl.List(pl.UInt16),
    "best_scores": pl.List(pl.Float32),
    "importance": pl.List(pl.Float32),
    "images": pl.List(pl.UInt32),
    "predicted": pl.List(pl.UInt16),
}


def colour(row: int) -> tuple[int, int, int]:
    return (40 * row % 256, 90 * row % 256, 200 - 20 * row)


def plain(row: int) -> bytes:
    """An image of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (200, 120), colour(row)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def project(tmp_path):
    """Ten images, the last unreadable; users of two images and labels; scores of two seeds, the first counts."""
    folder = tmp_path / "catalogue"
    folder.mkdir()
    digest = bank(folder / "images.h5", [*map(plain, range(9)), b"no image"]).digest()
    items = [(f"item {9 - row}", row, None, f"title {row}" if row else None) for row in range(9, -1, -1)]
    catalogue.write_table(folder / "items.parquet", pl.DataFrame(items, catalogue.ITEMS, orient="row"))
    sets = [(f"user {i:02d}", [i % 9, 9], [0, 1, 2], "test") for i in range(USERS)]
    sets += [("unlabelled", [0], [], "test"), ("learnt", [0], [0], "train")]
    catalogue.write_table(tmp_path / "sets.parquet", pl.DataFrame(sets, catalogue.SETS, orient="row"))
    catalogue.write_labels(tmp_path / "labels.json", ["hats", "shoes", "skirts", "totes"], digest)
    for place, pair in enumerate(PAIRS):
        write_scores(tmp_path, pair, [[0, 1, 2][: (i + place * (i == 3)) % 4] or [3] for i in range(USERS)])
    return tmp_path


def write_scores(folder, pair, predicted, **changes):
    """Scores of every user: the second seed predicts nothing right."""
    rows = [
        (f"user {i:02d}", seed, [2, 0, 1, 3], [0.9, 0.8, 0.7, 0.12345], [1.0], [i % 9], own if seed == 5 else [3])
        for seed in (5, 1)
        for i, own in enumerate(predicted)
    ]
    path = folder / "scores" / "/".join(pair) / "sets.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, SCORES, orient="row").with_columns(**changes).write_parquet(path)


def make(folder, pairs=PAIRS) -> dict:
    scores = {pair: folder / "scores" / "/".join(pair) for pair in pairs}
    gallery.make_gallery(
        folder / "catalogue", folder / "sets.parquet", folder / "labels.json", scores, folder / "gallery.json"
    )
    return json.loads((folder / "gallery.json").read_text())


def test_images_belong_to_their_users(project):
    made = make(project)
    assert {len(user["images"]) for user in made["users"]} == {2}
    for user in made["users"]:
        row = int(user["set_id"].split()[1]) % 9
        assert user["images"] == [row, 9]
        entry = made["images"][str(row)]
        assert entry["item_id"] == f"item {9 - row}" and entry["title"] == (f"title {row}" if row else "")
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["jpeg"]))))
        assert pixels.shape == (58, 96, 3)
        assert np.abs(pixels.astype(int) - colour(row)).max() <= 3
    assert made["images"]["9"] == {"item_id": "item 0", "title": "title 9", "jpeg": "", "unusable": "not an image"}


def test_answers_are_of_the_first_seed_and_weights_stand_with_their_images(project):
    user = next(user for user in make(project)["users"] if user["set_id"] == "user 03")
    assert [answer["predicted"] for answer in user["answers"]] == [[0, 1, 2], [3], [0]]
    assert [answer["f1"] for answer in user["answers"]] == [1.0, 0.0, 0.5]
    assert user["f1"] == 0.5 and user["true"] == [0, 1, 2]
    assert user["answers"][0]["weights"] == [1.0, None]  # the unreadable image has none
    assert user["answers"][0]["best"] == [2, 0, 1, 3]
    assert user["answers"][0]["best_scores"] == [0.9, 0.8, 0.7, 0.123]


def test_good_and_bad_cases_are_shown_and_a_disputed_one(project):
    made = make(project)
    users = {user["set_id"]: user for user in made["users"]}
    assert len(users) == len(made["users"]) == gallery.SPREAD + gallery.DISPUTED
    assert not {"unlabelled", "learnt"} & set(users)
    spread = made["users"][: gallery.SPREAD]
    figures = [user["f1"] for user in spread]
    assert figures == sorted(figures) and figures[0] == 0 and figures[-1] == 1
    assert (spread[0]["why"], spread[-1]["why"]) == ("worst answered", "best answered")
    assert "user 03" in users  # the only one about whom the heads differ


def test_users_are_chosen_by_figures_then_by_name():
    f1 = np.tile(np.arange(12) / 11, (2, 1))
    f1[:, 9] = (10 / 11, 8 / 11)  # as good as before, but disputed
    names = [f"u{i:02d}" for i in range(12)]
    chosen = gallery.choose(names, f1)
    assert [name for name, _ in chosen] == "u00 u02 u03 u05 u06 u08 u09 u11 u01 u04 u07 u10".split()
    assert [why for _, why in chosen][:3] == [
        "worst answered",
        *[f"better answered than {n} % of users" for n in (17, 25)],
    ]
    assert [why for _, why in chosen][7:] == ["best answered", *["heads disagree"] * 4]
    f1[:, 7] = (1, 3 / 11)
    assert gallery.choose(names, f1)[8] == ("u07", "heads disagree")
    assert gallery.choose(names, f1[::-1]) == gallery.choose(names, f1)
    f1[0, 0] = np.nan
    assert "u00" not in dict(gallery.choose(names, f1))
    assert gallery.choose(names[:1], np.ones((2, 1))) == [("u00", "worst answered")]
    assert len(gallery.choose(names[:3], f1[:, 1:4])) == 3


def test_made_twice_it_is_the_same_bytes(project):
    make(project)
    first = (project / "gallery.json").read_bytes()
    make(project)
    assert (project / "gallery.json").read_bytes() == first


def test_a_pair_without_scores_is_named_and_none_at_all_is_an_error(project):
    assert make(project, [*PAIRS, ("b1", "gone")])["missing"] == [["b1", "gone"]]
    with pytest.raises(StageError, match="run visagg evaluate, or dvc repro"):
        make(project, [("b1", "gone")])


def test_scores_of_something_else_are_refused(project):
    path = project / "scores/b0/average/sets.parquet"
    frame = pl.read_parquet(path)
    for other in ("nobody", "learnt"):
        frame.with_columns(pl.col("set_id").replace("user 00", other)).write_parquet(path)
        with pytest.raises(StageError, match="of other sets: run visagg evaluate b0 average"):
            make(project)
    frame.with_columns(pl.col("set_id").replace("user 00", "unlabelled")).write_parquet(path)
    assert not {"unlabelled", "user 00"} & {user["set_id"] for user in make(project)["users"]}
    path.write_bytes(b"nothing")
    with pytest.raises(StageError, match="average is damaged: delete it"):
        make(project)
    frame.write_parquet(path)
    catalogue.write_labels(project / "labels.json", ["hats"], "another digest")
    with pytest.raises(StageError, match="run visagg sets"):
        make(project)


def test_a_thumbnail_is_small_and_upright():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = 6  # lies on its side
    Image.open(io.BytesIO(jpeg(0, 300, 100))).save(out, "JPEG", exif=exif)
    small = images.thumbnail(out.getvalue(), 96)
    assert Image.open(io.BytesIO(small)).size == (32, 96)
    assert len(small) < 4000
    assert Image.open(io.BytesIO(images.thumbnail(jpeg(0, 50, 40), 96))).size == (50, 40)
    with pytest.raises(Unusable, match="not an image"):
        images.thumbnail(b"<html>", 96)
