"""The gallery: images and weights that belong to their user, and users whom nobody chose by eye."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline import images
from pipeline.catalogue.labelled_sets import SETS, read_sets
from pipeline.catalogue.tables import TABLES, write_tables
from pipeline.core.errors import StageError, Unusable
from pipeline.evaluation import results
from pipeline.metrics.schema import SCHEMA
from pipeline.project import Project
from pipeline.report import gallery
from pipeline.settings.settings import Settings
from tests.support.images import bank, jpeg
from tests.support.labelled import write_sets
from tests.support.records import rewrite, rewrite_files
from tests.support.settings import make_settings

PAIRS = [("b0", "average"), ("b0", "noisy_or"), ("b1", "average")]
USERS = 20
ANSWERS = {
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


def settings(*heads: str) -> Settings:
    """Settings that compare some heads on b0 and b1."""
    declared = {name: {"model": "made for a test", "weights": "none"} for name in ("b0", "b1")}
    return make_settings(
        {
            "backbones": declared,
            "compare.backbones": ["b0", "b1"],
            "compare.heads": [*heads],
            "ablation.backbone": "b0",
            "swap": {},
        }
    )


@pytest.fixture
def project(tmp_path) -> Project:
    """Ten images, the last unreadable; users of two images and labels; results of two seeds, the first counts."""
    project = Project(tmp_path)
    digest = bank(project.images, [*map(plain, range(9)), b"no image"]).digest()
    items = [(f"item {9 - row}", row, [], f"title {row}" if row else "") for row in range(9, -1, -1)]
    rows = {"items": items, "purchases": [], "rejects": []}
    write_tables(project.catalogue, {name: pl.DataFrame(rows[name], TABLES[name], orient="row") for name in TABLES})
    sets = [(f"user {i:02d}", [i % 9, 9], [0, 1, 2], "test") for i in range(USERS)]
    sets += [("unlabelled", [0], [], "test"), ("learnt", [0], [0], "train")]
    labels = ["hats", "shoes", "skirts", "totes"]
    frame = pl.DataFrame(sets, SETS, orient="row")
    write_sets(project, frame=frame, labels=labels, images_digest=digest)
    sets_digest = read_sets(project.sets, project.labels).digest
    for shift, pair in enumerate(PAIRS):
        predicted = [[0, 1, 2][: (i + shift * (i == 3)) % 4] or [3] for i in range(USERS)]
        write_answers(project.results(*pair), predicted, sets_digest)
    return project


def write_answers(folder: Path, predicted: list[list[int]], sets_digest: str) -> None:
    """A head's answer to every user: the second seed predicts nothing right."""
    rows = [
        (f"user {i:02d}", seed, [2, 0, 1, 3], [0.9, 0.8, 0.7, 0.12345], [1.0], [i % 9], of_user if seed == 5 else [3])
        for seed in (5, 1)
        for i, of_user in enumerate(predicted)
    ]
    results.write(
        folder, pl.DataFrame([], SCHEMA), sets_digest=sets_digest, sets=pl.DataFrame(rows, ANSWERS, orient="row")
    )


def make(project: Project, *heads: str) -> dict:
    gallery.make_gallery(project, settings(*heads or ("average", "noisy_or")))
    return json.loads(project.gallery.read_text())


def test_images_belong_to_their_users(project):
    made = make(project)
    assert made["pairs"] == [list(pair) for pair in PAIRS]
    assert made["missing"] == [["b1", "noisy_or"]]
    assert {len(user["images"]) for user in made["users"]} == {2}
    for user in made["users"]:
        row = int(user["set_id"].split()[1]) % 9
        assert user["images"] == [row, 9]
        entry = made["images"][str(row)]
        assert entry["item_id"] == f"item {9 - row}"
        assert entry["title"] == (f"title {row}" if row else "")
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["jpeg"]))))
        assert pixels.shape == (58, 96, 3)
        assert np.abs(pixels.astype(int) - colour(row)).max() <= 3
    assert made["images"]["9"] == {"item_id": "item 0", "title": "title 9", "jpeg": "", "unusable": "not an image"}


def test_answers_are_of_the_first_seed_and_weights_stand_with_their_images(project):
    user = next(user for user in make(project)["users"] if user["set_id"] == "user 03")
    assert [answer["predicted"] for answer in user["answers"]] == [[0, 1, 2], [3], [0]]
    assert [answer["f1"] for answer in user["answers"]] == [1.0, 0.0, 0.5]
    assert user["f1"] == 0.5
    assert user["true"] == [0, 1, 2]
    assert user["answers"][0]["weights"] == [1.0, None]  # the unreadable image has none
    assert user["answers"][0]["best"] == [2, 0, 1, 3]
    assert user["answers"][0]["best_scores"] == [0.9, 0.8, 0.7, 0.123]


def test_good_and_bad_cases_are_shown_and_a_disputed_one(project):
    made = make(project)
    users = {user["set_id"]: user for user in made["users"]}
    assert len(users) == len(made["users"]) == gallery.SPREAD + gallery.DISPUTED
    assert not {"unlabelled", "learnt"} & set(users)
    spread = made["users"][: gallery.SPREAD]
    values = [user["f1"] for user in spread]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, 1)
    assert (spread[0]["why"], spread[-1]["why"]) == ("worst answered", "best answered")
    assert "user 03" in users  # the only one about whom the heads differ


def test_users_are_chosen_by_f1_then_by_name():
    f1 = np.tile(np.arange(12) / 11, (2, 1))
    f1[:, 9] = (10 / 11, 8 / 11)  # as good as before, but disputed
    names = [f"u{i:02d}" for i in range(12)]
    chosen = gallery.choose(names, f1)
    assert [int(name[1:]) for name, _ in chosen] == [0, 2, 3, 5, 6, 8, 9, 11, 1, 4, 7, 10]
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
    first = project.gallery.read_bytes()
    make(project)
    assert project.gallery.read_bytes() == first


def test_a_pair_without_results_is_named_and_none_at_all_is_an_error(project):
    assert make(project, "average", "average_fc")["missing"] == [["b0", "average_fc"], ["b1", "average_fc"]]
    with pytest.raises(StageError, match="run visagg evaluate, or dvc repro"):
        make(project, "average_fc")


def test_results_of_something_else_are_refused(project):
    folder = project.results("b0", "average")
    rewrite(folder / results.RECORD, sets_digest="abc")
    with pytest.raises(StageError, match="average is of other sets: run visagg evaluate"):
        make(project)
    rewrite(folder / results.RECORD, sets_digest=read_sets(project.sets, project.labels).digest)
    path = folder / results.SETS
    pl.read_parquet(path).with_columns(pl.col("set_id").replace("user 00", "unlabelled")).write_parquet(path)
    with pytest.raises(StageError, match=r"sets.parquet is damaged"):
        make(project)
    rewrite_files(folder / results.RECORD, results.SETS)
    assert not {"unlabelled", "user 00"} & {user["set_id"] for user in make(project)["users"]}
    rewrite(project.labels, images_digest="abc")
    for head in PAIRS:
        rewrite(project.results(*head) / results.RECORD, sets_digest=read_sets(project.sets, project.labels).digest)
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
