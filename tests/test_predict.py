"""visagg predict: what evaluate says of the same images, from files, folders and zip files, and nothing silent."""

import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.catalogue.images import Images
from pipeline.catalogue.labelled_sets import read_sets
from pipeline.cli import models, stages, tools  # noqa: F401 (the commands join their group)
from pipeline.cli.group import cli
from pipeline.core.errors import SettingsError, StageError, StoreError, Unusable
from pipeline.embeddings.store import Embeddings
from pipeline.evaluation import results
from pipeline.export.predict import photos as finding
from pipeline.export.predict.interests import predict, text
from pipeline.export.predict.photos import find_photos
from pipeline.export.predict.trained import TrainedModel, best_by_validation
from pipeline.training import checkpoint, dataset
from tests.support.carried import inside
from tests.support.images import jpeg
from tests.support.records import rewrite


@pytest.fixture(scope="module")
def users(carried, tmp_path_factory) -> Path:
    """A folder for each of some test users, with the images of their sets as files, and the sets' names."""
    top = tmp_path_factory.mktemp("users")
    images = Images(carried.project.images)
    for set_id, rows in _test_sets(carried):
        for row in rows:
            path = top / set_id / f"{row:04d}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(images.read(row))
    return top


def _test_sets(carried):
    sets = read_sets(carried.project.sets, carried.project.labels).split("test").head(12)
    return sets.select("set_id", "images").iter_rows()


@pytest.fixture(scope="module")
def model(carried):
    with inside(carried.root):
        return TrainedModel(carried.project, "lite0", "noisy_or", settings=carried.settings).model()


def run(carried, *words):
    """What the command prints; a fault that a user can mend is raised."""
    with inside(carried.root):
        done = CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def evaluated(carried, head="noisy_or"):
    """Each test set's probabilities by the seed that predict takes, as evaluate computes them."""
    trained = checkpoint.load(carried.project.checkpoint("lite0", head))
    sets = read_sets(carried.project.sets, carried.project.labels)
    data = dataset.load(sets, Embeddings(carried.project.store("lite0")), "test")
    best = max(range(2), key=lambda seed: trained.checkpoint.seeds[seed].micro_ap)
    return dict(zip(data.set_ids, trained.scores(data)[best], strict=True)), trained.checkpoint.seeds[best].threshold


def test_it_says_what_evaluate_says_of_the_same_images(carried, users, model):
    expected, threshold = evaluated(carried)
    seed = max(checkpoint.read(carried.project.checkpoint("lite0", "noisy_or")).seeds, key=lambda one: one.micro_ap)
    saved = results.read(carried.project.results("lite0", "noisy_or")).sets().filter(seed=seed.seed)
    predicted = dict(saved.select("set_id", "predicted").iter_rows())
    for folder in sorted(users.iterdir()):
        said = predict([*find_photos([folder])], model, 2).content["interests"]
        by_label = {one["label"]: one for one in said}
        assert [by_label[label]["probability"] for label in model.labels] == pytest.approx(
            expected[folder.name].tolist(), abs=2e-6
        )
        decided = [index for index, label in enumerate(model.labels) if by_label[label]["predicted"]]
        assert decided == predicted[folder.name]
        assert [one["probability"] for one in said] == sorted((one["probability"] for one in said), reverse=True)
    assert model.thresholds.tolist() == [threshold] * len(model.labels)


def test_weights_are_shares_of_the_photos_and_the_photo_that_shows_the_label_has_most(carried, users, model):
    """With one photo more that shows something else, the label's weight stays with the photo that it came from."""
    folder = sorted(users.iterdir())[0]
    said = predict([*find_photos([folder])], model, 2).content["interests"]
    files = {photo["file"] for photo in said[0]["photos"]}
    for one in said:
        weights = [photo["weight"] for photo in one["photos"]]
        assert sum(weights) == pytest.approx(1, abs=1e-4) and weights == sorted(weights, reverse=True)
        assert {photo["file"] for photo in one["photos"]} == files
    alone = {file: predict([*find_photos([Path(file)])], model, 2).content["interests"] for file in files}
    first = said[0]
    highest = max(files, key=lambda file: next(o["probability"] for o in alone[file] if o["label"] == first["label"]))
    assert first["photos"][0]["file"] == highest


def test_the_best_head_on_validation_answers_unless_one_is_named(carried, users):
    with inside(carried.root):
        best = best_by_validation(carried.project, carried.settings)
    means = {
        head: np.mean([seed.micro_ap for seed in checkpoint.read(carried.project.checkpoint("lite0", head)).seeds])
        for head in ("noisy_or", "average_fc")
    }
    assert best == ("lite0", max(means, key=means.get))
    folder = sorted(users.iterdir())[0]
    assert run(carried, "predict", folder).startswith(f"lite0/{best[1]}: ")
    other = next(head for head in means if head != best[1])
    assert run(carried, "predict", folder, "--model", f"lite0/{other}").startswith(f"lite0/{other}: ")


def test_a_merged_head_answers_on_the_new_backbone(carried, users):
    name = "lite1/average_fc_from_lite0"
    said = json.loads(run(carried, "predict", sorted(users.iterdir())[0], "--json", "--model", name))
    assert len(said["interests"]) == len(carried.settings.compare.heads) or said["interests"]
    assert run(carried, "predict", sorted(users.iterdir())[0], "--model", name).startswith(name)


def test_files_folders_and_zip_files_hold_the_same_photos(carried, users, tmp_path):
    folder = sorted(users.iterdir())[1]
    archive = tmp_path / "photos.ZIP"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("__MACOSX/._a.jpg", b"nothing")
        written.writestr("below/.hidden.jpg", b"nothing")
        for path in folder.iterdir():
            written.write(path, f"below/{path.name}")
    ways = ([folder], sorted(folder.iterdir()), [archive])
    said = [json.loads(run(carried, "predict", "--json", *way)) for way in ways]
    plain = [[(one["label"], one["probability"], one["predicted"]) for one in answer["interests"]] for answer in said]
    assert plain[0] == plain[1] == plain[2]
    assert [answer["unreadable"] for answer in said] == [[], [], []]


def test_what_cannot_be_read_is_named_and_copies_count_once(carried, users, tmp_path, model):
    folder = sorted(users.iterdir())[2]
    first = sorted(folder.iterdir())[0]
    whole = predict([*find_photos([folder])], model, 2)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/copy.png").write_bytes(first.read_bytes())
    (tmp_path / "more/cut.jpg").write_bytes(jpeg(1, 64, 64)[:300])
    (tmp_path / "more/empty.jpg").write_bytes(b"")
    (tmp_path / "more/notes.txt").write_text("no photo")
    (tmp_path / "more/gone.jpg").symlink_to("nowhere")
    more = predict([*find_photos([folder, tmp_path / "more"])], model, 2)
    same = [[(one["label"], one["probability"]) for one in said.content["interests"]] for said in (whole, more)]
    assert same[0] == same[1]
    assert more.photos.copies == 1
    reasons = {Path(fault["file"]).name: fault["reason"] for fault in more.content["unreadable"]}
    assert set(reasons) == {"cut.jpg", "empty.jpg", "notes.txt", "gone.jpg"}
    assert reasons["empty.jpg"] == "empty image" and reasons["notes.txt"] == "not an image"
    assert "1 of them copies" in text(more) and "cut.jpg: damaged image" in text(more)


def test_damaged_members_of_a_zip_file_are_named(users, tmp_path, model):
    path = tmp_path / "photos.zip"
    good = next(sorted(users.iterdir())[0].iterdir()).read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a.jpg", good)
        written.writestr("b.jpg", good * 2)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"b.jpg", 0, content.rindex(b"PK\x01\x02")) + 40] ^= 0xFF
    path.write_bytes(content)
    said = predict([*find_photos([path])], model, 2)
    assert [Path(fault["file"]).name for fault in said.content["unreadable"]] == ["b.jpg"]
    assert said.content["unreadable"][0]["reason"].startswith("cannot be unpacked: ")


def test_a_member_that_unpacks_to_more_than_a_photo_can_have_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "LARGEST_IMAGE", 1000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a.jpg", bytes(2000))
    [photo] = find_photos([path])
    with pytest.raises(Unusable, match="a file of more than"):
        photo.read()


@pytest.mark.parametrize(
    ("words", "fault", "message"),
    [
        (["nowhere"], StageError, "nowhere is missing"),
        (["notes.zip"], StageError, "notes.zip is no zip file"),
        (["notes.txt"], StageError, "none of 1 photos can be read: notes.txt: not an image"),
        (["hollow"], StageError, "no photos there"),
        (["hollow", "--model", "lite0"], SettingsError, "'lite0' is no model"),
        (["hollow", "--model", "lite0/avarage"], SettingsError, "did you mean average"),
        (["hollow", "--model", "lite1/average"], StageError, "holds no trained head"),
        (["hollow", "--model", "lite1/average_from_lite0"], StageError, "visagg swap lite0 lite1, then visagg merge"),
        (["hollow", "--each-folder", "--table", "t.txt"], SettingsError, r"a .csv or .parquet file"),
        (["hollow", "--each-folder", "--table", "t.csv"], StageError, "no set there"),
        (["users.csv", "--each-folder", "--table", "t.csv"], StageError, "no set there"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(carried, words, fault, message):
    (carried.root / "hollow").mkdir(exist_ok=True)
    (carried.root / "notes.zip").write_text("no zip file")
    (carried.root / "notes.txt").write_text("no photo")
    (carried.root / "users.csv").write_text("no photo")
    with pytest.raises(fault, match=message) as raised:
        run(carried, "predict", *words)
    assert "\n" not in str(raised.value)
    assert not list(carried.root.glob("t.*"))


def test_a_head_of_another_backbone_is_refused(carried, users):
    record = carried.project.checkpoint("lite0", "average_fc") / "checkpoint.json"
    before = record.read_bytes()
    rewrite(record, fingerprint={**json.loads(before)["fingerprint"], "weights": "f" * 64})
    try:
        with pytest.raises(StoreError, match="trained on other embeddings"):
            run(carried, "predict", users, "--model", "lite0/average_fc")
    finally:
        record.write_bytes(before)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_has_a_row_for_each_folder_as_predict_has_it(carried, users, tmp_path, model, suffix):
    table = tmp_path / f"sets.{suffix}"
    (users / "zz nothing").mkdir(exist_ok=True)
    (users / "zz nothing/notes.txt").write_text("no photo")
    (users / "stray.jpg").write_bytes(jpeg(0, 8, 8))
    said = run(carried, "predict", users, "--model", "lite0/noisy_or", "--each-folder", "--table", table)
    (users / "stray.jpg").unlink()
    assert said.startswith("lite0/noisy_or: 13 sets") and said.endswith("in no folder: " + str(users / "stray.jpg\n"))
    frame = pl.read_csv(table) if suffix == "csv" else pl.read_parquet(table)
    assert frame.columns == ["set", "photos", "unreadable", "interests", *(f"probability {la}" for la in model.labels)]
    assert frame["set"].to_list() == sorted(folder.name for folder in users.iterdir())
    for row in frame.iter_rows(named=True):
        probabilities = [row[f"probability {label}"] for label in model.labels]
        if row["set"] == "zz nothing":
            assert probabilities == [None] * len(model.labels) and (row["photos"], row["unreadable"]) == (0, 1)
            continue
        alone = predict([*find_photos([users / row["set"]])], model, 2).content["interests"]
        expected = {one["label"]: one["probability"] for one in alone}
        assert probabilities == pytest.approx([expected[label] for label in model.labels], abs=2e-6)
        interests = [one["label"] for one in alone if one["predicted"]]
        assert row["interests"] == (("|".join(interests) or None) if suffix == "csv" else interests)


def test_a_table_that_is_interrupted_is_not_there(carried, users, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.export.predict.each_folder.PhotoSet.answer", lambda *_: 1 / 0)
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(ZeroDivisionError):
            run(carried, "predict", users, "--each-folder", "--table", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_photos_and_nothing_of_a_name_is_markup(carried, users, tmp_path):
    folder = tmp_path / "<script>alert(1)<script>"
    folder.mkdir()
    for path in sorted(users.iterdir())[0].iterdir():
        (folder / f"<b>{path.name}").write_bytes(path.read_bytes())
    page = tmp_path / "page.html"
    run(carried, "predict", folder, "--html", page)
    written = page.read_text()
    assert "<script" not in written and "<b>0" not in written and "&lt;b&gt;" in written
    assert written.count("data:image/jpeg;base64,") == len(list(folder.iterdir()))
    assert "SIMULATED" in run(carried, "predict", folder) and "Simulated:" in written
    run(carried, "predict", folder, "--html", page)
    assert page.read_text() == written
