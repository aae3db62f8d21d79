"""Simulated sources: read without a reject, the same from the same seed, called simulated, and of any size."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
import tracemalloc
from pathlib import Path, PurePath

import numpy as np
import polars as pl
import pytest

from pipeline.catalogue.tables import Catalogue
from pipeline.core.errors import SourceError
from pipeline.images import decode
from pipeline.ingest import marker
from pipeline.ingest.demo.buyers import Crowd, Habits
from pipeline.ingest.marker import simulated_of
from pipeline.ingest.simulated import class_folders, drawing
from pipeline.ingest.simulated.catalogue import Size, simulate_catalogue
from pipeline.ingest.simulated.dvbpr_file import NAME
from pipeline.ingest.simulated.photos import Buyers, simulate_purchases
from pipeline.ingest.stage import ingest
from pipeline.project import Project
from pipeline.report.origin import origin
from pipeline.sets.stage import make_sets
from pipeline.settings.settings import load
from tests.support.images import jpeg
from tests.support.program import COMMAND, call, failed
from tests.support.records import unsealed
from tests.support.settings import ROOT, SHIPPED, make_settings, write_settings

FEW = Buyers(count=30, photos=(2, 4), seed=1)


@pytest.fixture
def classes(tmp_path):
    """A folder of class folders, one in another, with what else lies in such folders."""
    folder = tmp_path / "photos"
    for number, name in enumerate(["hat", "Clothing/Tops", "hat", "Clothing/Tops", "ties & bows", "Clothing"]):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{number}.{'JPG' if number % 2 else 'jpg'}").write_bytes(jpeg(number))
    (folder / "LICENSE").write_text("none")
    (folder / "alone.jpg").write_bytes(jpeg(20))
    (folder / "hat/.hidden.jpg").write_bytes(b"")
    (folder / ".cache").mkdir()
    (folder / ".cache/9.jpg").write_bytes(b"")
    return folder


def buy(photos, to, buyers=FEW, labels=None, link=False):
    return simulate_purchases(photos, to, buyers, labels=labels, link=link)


def read(root, path, name="table"):
    """The catalogue that ingest makes of a source."""
    ingest(Project(root), make_settings({"source.name": name, "source.path": str(path)}))
    return Catalogue.open(Project(root).catalogue)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_class_folders_become_a_table_that_is_read_without_a_reject(tmp_path, classes):
    said = buy(classes, tmp_path / "raw")
    assert "6 photos of 4 classes" in said and "30 simulated users" in said
    catalogue = read(tmp_path, tmp_path / "raw")
    assert catalogue.table("rejects").read().is_empty()
    items = catalogue.table("items").read()
    assert dict(items.select("title", "categories").iter_rows()) == {
        "Clothing/5.JPG": [["Clothing"]],
        "Clothing/Tops/1.JPG": [["Clothing", "Tops"]],
        "Clothing/Tops/3.JPG": [["Clothing", "Tops"]],
        "hat/0.jpg": [["hat"]],
        "hat/2.jpg": [["hat"]],
        "ties & bows/4.jpg": [["ties & bows"]],
    }
    images = catalogue.images()
    assert all(images.read(image) == (classes / title).read_bytes() for image, title in items["image", "title"].rows())
    purchases = catalogue.table("purchases").read()
    assert purchases["user_id"].n_unique() == 30 and purchases["user_id"].str.starts_with("simulated").all()
    assert purchases.group_by("user_id", "item_id").len()["len"].max() == 1, "nobody buys a thing twice"
    splits = purchases.sort("user_id", "time").group_by("user_id", maintain_order=True).agg("source_split")
    assert all(list(given) == sorted(given, key=["train", "validation", "test"].index) for _, given in splits.rows())


def test_labels_say_what_folders_and_photos_show(tmp_path, classes):
    labels = classes / "labels.csv"
    labels.write_text(
        "path,categories\nhat,Accessories > Hats|Sale\nClothing/Tops/1.JPG,Tops > Blouses\nalone.jpg,Odd\n"
    )
    buy(classes, tmp_path / "raw")
    shown = dict(read(tmp_path, tmp_path / "raw").table("items").read("title", "categories").iter_rows())
    assert shown["hat/2.jpg"] == [["Accessories", "Hats"], ["Sale"]] and shown["alone.jpg"] == [["Odd"]]
    assert shown["Clothing/Tops/1.JPG"] == [["Tops", "Blouses"]] and shown["Clothing/Tops/3.JPG"] == [
        ["Clothing", "Tops"]
    ]
    labels.write_text("path,categories\nhats,Hats\n")
    with pytest.raises(SourceError, match=r"labels.csv: 'hats' is not in"):
        buy(classes, tmp_path / "raw")
    labels.write_text("name,categories\nhat,Hats\n")
    with pytest.raises(SourceError, match="not a readable table of path and categories"):
        buy(classes, tmp_path / "raw")


def test_the_same_seed_gives_the_same_bytes_and_links_the_same_catalogue(tmp_path, classes, monkeypatch):
    for name, buyers in (("a", FEW), ("b", FEW), ("c", Buyers(30, (2, 4), seed=2))):
        buy(classes, tmp_path / name, buyers)
    one, same, other = (digests(tmp_path / name) for name in "abc")
    assert one == same
    assert {name for name in one if one[name] != other[name]} == {"purchases.csv"}
    names = list(class_folders._names(classes))
    for order in (names, names[::-1]):
        monkeypatch.setattr(class_folders, "_names", lambda _, order=order: order)
        assert [photo.name for photo in class_folders.find_photos(classes)] == sorted(
            set(names) - {PurePath("alone.jpg")}
        )
    buy(classes, tmp_path / "d", link=True)
    assert digests(tmp_path / "d") == one and (tmp_path / "d/images/000/P000000.jpg").is_symlink()


def test_a_folder_that_is_not_its_own_is_left_alone(tmp_path, classes):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "README.md").write_text("read me")
    run = ("simulate", str(classes), "--users", "20", "--to")
    assert call(tmp_path, *run, str(raw)).returncode == 0
    assert call(tmp_path, *run, str(raw)).returncode == 0, "what it made, it makes anew"
    assert (raw / "README.md").read_text() == "read me"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/items.csv").write_text("mine")
    failed(call(tmp_path, *run, "mine"), "mine holds items.csv", "new or empty")
    failed(call(tmp_path, *run, "mine/items.csv/x"))
    failed(call(tmp_path, *run, str(classes / "new")), "lie in one another")
    failed(call(tmp_path, *run, "."), "lie in one another")
    assert (tmp_path / "mine/items.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "photos", "raw"]
    (classes / "a|b").mkdir()
    (classes / "a|b/1.jpg").write_bytes(jpeg(1))
    failed(call(tmp_path, *run, "new"), "'a|b'", "must not have | or >")
    (tmp_path / "empty").mkdir()
    failed(call(tmp_path, "simulate", "empty", "--to", "new"), "no photos in class folders")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give either PHOTOS"),
        (("photos", "--items", "3"), "give either PHOTOS"),
        (("photos", "--layout", "dvbpr"), "--layout belongs to --items"),
        (("--items", "3", "--photos", "1", "2"), "--photos belongs to PHOTOS"),
        (("photos", "--photos", "3", "2"), "the fewest first"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(tmp_path, classes, words, said):
    result = call(tmp_path, "simulate", *words, "--to", "raw")
    assert result.returncode == 2 and said in failed(result)


def test_buyers_have_a_few_interests_and_do_not_depend_on_other_buyers():
    kinds = np.arange(1000) % 10
    crowd = Crowd(kinds, Habits(taste=0.35, fewest=10, most=10), seed=3)
    bought = [[kinds[item] for item, _, _ in crowd.history(user)] for user in range(400)]
    largest = np.mean([np.bincount(given, minlength=10).max() / len(given) for given in bought])
    assert 0.4 < largest < 0.7, "a tenth would be no interest at all, and one no choice"
    assert all(np.bincount(np.concatenate(bought), minlength=10) > 200), "each kind has its friends"
    again = Crowd(kinds, Habits(taste=0.35, fewest=10, most=10), seed=3)
    assert list(again.history(399)) == list(crowd.history(399))


def test_few_items_sell_most_where_the_habits_say_so():
    habits = Habits(taste=5, fewest=5, most=300, by_stock=True, tail=True, popularity=0.75)
    crowd = Crowd(np.arange(4000) % 4, habits, seed=0)
    histories = [list(crowd.history(user)) for user in range(2000)]
    sizes = [len(history) for history in histories]
    assert 7 < np.mean(sizes) < 9 and min(sizes) >= 4 and max(sizes) > 30
    sold = np.sort(np.bincount([item for history in histories for item, _, _ in history], minlength=4000))[::-1]
    assert sold[:400].sum() > 0.2 * sold.sum() and (sold > 0).mean() > 0.7


@pytest.mark.parametrize("layout", ["table", "dvbpr"])
def test_a_drawn_catalogue_is_the_same_from_one_process_or_two_and_read_without_a_reject(tmp_path, layout, monkeypatch):
    monkeypatch.setattr(drawing, "BLOCK", 4)
    for jobs in (1, 2):
        simulate_catalogue(tmp_path / f"{jobs}", Size(70, 40), layout=layout, jobs=jobs)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    catalogue = read(tmp_path, tmp_path / "1", layout)
    assert catalogue.table("rejects").read().is_empty() and len(catalogue.table("items")) == 70
    assert catalogue.table("purchases").read()["user_id"].n_unique() == 40
    images = catalogue.images()
    encoded = images.read_many(np.arange(len(images)))
    assert len({hashlib.sha256(decode(image).tobytes()).digest() for image in encoded}) == 70
    assert 8_000 < np.mean([len(image) for image in encoded]) < 25_000


def test_both_layouts_hold_the_same_shop_and_numpy_reads_the_one_of_python_2(tmp_path):
    for layout in ("table", "dvbpr"):
        simulate_catalogue(tmp_path / layout, Size(20, 9), layout=layout, jobs=1)
    by_layout = [read(tmp_path / f"of {name}", tmp_path / name, name) for name in ("table", "dvbpr")]
    for name in ("items", "purchases"):
        one, other = (catalogue.table(name).read() for catalogue in by_layout)
        assert one.equals(other), name
    whole = np.load(tmp_path / "dvbpr" / NAME, allow_pickle=True, encoding="bytes")
    assert whole[4:].tolist() == [9, 20] and whole[3][19][b"asin"] == b"S000000019"
    assert set(whole[0][0][0]) == {"reviewerID", "asin", "productid", "unixReviewTime"}


def test_an_item_is_the_same_in_a_larger_shop(tmp_path):
    for items in (5, 9):
        simulate_catalogue(tmp_path / f"{items}", Size(items), layout="table", jobs=1)
    small, large = (digests(tmp_path / f"{items}" / "images") for items in (5, 9))
    assert small.items() <= large.items() and len(large) == 9


def test_memory_does_not_grow_with_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "picture", lambda seed, index: index.to_bytes(4) * 4096)

    def peak(items):
        tracemalloc.start()
        simulate_catalogue(tmp_path / f"{items}", Size(items, items // 4), layout="dvbpr", jobs=1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(300), peak(3000)
    assert large - small < 2700 * 100, "a picture has 16 kB"
    assert (tmp_path / "3000" / NAME).stat().st_size > 3000 * 16384


def test_what_is_interrupted_leaves_nothing_and_nobody(tmp_path):
    """Ctrl-C reaches all processes of a terminal; a kill reaches the first one alone, and the others end with it."""
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        words = ("simulate", "--items", "100000", "--users", "5", "--to", "raw", "--jobs", "2")
        started = subprocess.Popen(
            [*COMMAND, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        aside = wait_for(lambda: next(tmp_path.glob(".raw.*.partial/images/000/*31.jpg"), None))
        workers = children(started.pid)
        assert len(workers) >= 2
        os.killpg(started.pid, number) if number == signal.SIGINT else started.kill()
        said = started.communicate(timeout=60)[1]
        assert started.returncode == status, said
        wait_for(lambda: not any(is_running(worker) for worker in workers))  # noqa: B023 (called here)
        if number == signal.SIGINT:
            assert "Traceback" not in said and "stopped" in said.splitlines()[-1] and not aside.exists()
    assert not (tmp_path / "raw").exists()
    assert call(tmp_path, "simulate", "--items", "3", "--to", "raw", "--jobs", "1").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["raw"], "the next call removes what the kill left"


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it does not come")


def children(process):
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def described(root, changes):
    """What the graph's first stages say of a source."""
    settings = make_settings({**changes, "sets.least_items": 1})
    ingest(Project(root), settings)
    make_sets(Project(root), settings)
    return unsealed(Project(root).description)


def test_simulated_data_are_called_so_and_others_are_not(tmp_path, classes):
    raw = tmp_path / "raw"
    buy(classes, raw, Buyers(100, (2, 4), seed=1))
    of_table = {"source.name": "table", "source.path": str(raw)}
    said = described(tmp_path, of_table)
    assert said["simulated"] is True and said["drawn"] is False
    assert origin(said, "Simulated").startswith(
        "Source: table. Simulated: real images, and purchases of users who do not"
    )
    (raw / marker.NAME).unlink()
    assert described(tmp_path, of_table)["simulated"] is False
    simulate_catalogue(tmp_path / "drawn", Size(40, 60), layout="dvbpr", jobs=1)
    said = described(tmp_path, {"source.name": "dvbpr", "source.path": str(tmp_path / "drawn")})
    assert said["simulated"] is said["drawn"] is True
    assert "Simulated: images drawn by a program" in origin(said, "Simulated")


def test_the_mark_holds_for_the_files_that_it_names_and_a_damaged_one_is_no_mark_of_real_data(tmp_path):
    marker.mark(tmp_path, "images and users", [NAME])

    def simulated(path):
        return simulated_of(make_settings({"source.name": "dvbpr", "source.path": str(path)}).source)

    assert simulated(tmp_path) == simulated(tmp_path / NAME) == "images and users"
    assert simulated(tmp_path / "real.npy") == ""
    assert simulated_of(make_settings().source) == "images and users", "the demo"
    for text in ("", "[]", '{"simulated": "no", "files": []}', '{"simulated": "users", "files": 3}'):
        (tmp_path / marker.NAME).write_text(text)
        with pytest.raises(SourceError, match="not what visagg simulate writes"):
            simulated(tmp_path)
    (tmp_path / marker.NAME).unlink()
    (tmp_path / marker.NAME).symlink_to("nowhere")
    with pytest.raises(SourceError, match="not what visagg simulate writes"):
        simulated(tmp_path)


def test_the_shipped_settings_make_the_table_of_the_real_photos(tmp_path, photos):
    params = tmp_path / "pipeline/params.yaml"
    write_settings(params)
    assert call(tmp_path, "settings", str(ROOT / "reports/settings/real_photos.yaml")).returncode == 0
    settings = load(params)
    labels = ROOT / "reports/settings/real_photos.csv"
    buy(photos, tmp_path / settings.source.path, Buyers(), labels=labels, link=True)
    changes = {"source.name": "table", "source.path": str(tmp_path / settings.source.path)}
    ingest(Project(tmp_path), make_settings(changes))
    make_sets(Project(tmp_path), settings)
    said = unsealed(Project(tmp_path).description)
    assert (said["items"], said["labels"], said["rejects"]) == (3068, 18, {})
    assert pl.read_parquet(Project(tmp_path).sets)["labels"].list.len().min() > 0
    sizes = [split["sets"] for split in said["sets"].values()]
    assert np.allclose(sizes, [2397, 752, 767], rtol=0.05), "as many as in reports/evidence.md"
    assert said["sets"]["test"]["share_of_images_in_training"] == 0


def test_shipped_settings_change_what_they_name_and_leave_comments_and_the_rest(tmp_path):
    params = tmp_path / "pipeline/params.yaml"
    params.parent.mkdir()
    shutil.copy(SHIPPED, params)
    for name in ("real_photos", "conditions"):
        file = str(ROOT / f"reports/settings/{name}.yaml")
        assert "train.seeds: " in call(tmp_path, "settings", file).stdout
        assert "has these settings already" in call(tmp_path, "settings", file).stdout
    settings = load(params)
    assert (settings.source.name, settings.swap, settings.train.seeds) == ("table", {}, [0, 1])
    assert settings.train.cycles == [8, 30, 60, 120] and settings.sets == make_settings().sets
    old, new = SHIPPED.read_text().splitlines(), params.read_text().splitlines()
    gone = [line for line in old if line not in new]
    assert 5 < len(gone) < 20 and not any(line.lstrip().startswith("#") for line in gone)
    before = params.read_bytes()
    for text, said in (
        ("train: {sedes: [0]}", "bad.yaml: unknown key train.sedes"),
        ("source: 3", "bad.yaml: source"),
        ("[]", "names no settings"),
        ("{", "is not YAML"),
    ):
        (tmp_path / "bad.yaml").write_text(text)
        assert said in failed(call(tmp_path, "settings", "bad.yaml"))
    assert params.read_bytes() == before
    assert [path.name for path in params.parent.iterdir()] == ["params.yaml"]
