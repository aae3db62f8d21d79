"""What stages hand over: sealed, of the kind that its reader wants, and never of two runs."""

import errno
import json
import math
import shutil
from collections import Counter

import polars as pl
import pytest
from typing_extensions import TypedDict

from pipeline.catalogue import tables
from pipeline.catalogue.labelled_sets import IMAGE_LABELS, SETS, read_image_labels, read_sets
from pipeline.core import files, handover
from pipeline.core.errors import StageError
from pipeline.core.handover import Dim, read_frame, read_record, sealed, write_record
from pipeline.core.table import Table
from pipeline.project import Project
from pipeline.sets.labels import frequent_labels
from tests.support.labelled import write_sets
from tests.support.settings import make_settings
from tests.support.world import World, write_catalogue


class Kind(TypedDict):
    dim: Dim
    value: float


GOOD = {"dim": 3, "value": 0.5}


def test_a_record_is_read_as_it_was_written(tmp_path):
    seal = write_record(tmp_path / "a.json", GOOD)
    assert read_record(tmp_path / "a.json", Kind, again="run a") == GOOD
    assert json.loads((tmp_path / "a.json").read_text()) == {**GOOD, "seal": seal}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no record"),
        ("[]", "no record"),
        ("{}", "no record"),
        ("[" * 100_000, "no record"),
        ('{"dim": 3, "value": NaN, "seal": "00"}', "no record"),
        ('{"dim": 3, "value": 1e999, "seal": "00"}', "no record"),
        (json.dumps({**sealed(GOOD), "value": 0.6}), "changed since it was written"),
        (json.dumps(sealed({**GOOD, "dim": 10**9})), "dim: Input should be less"),
        (json.dumps(sealed({**GOOD, "dim": "3"})), "dim: Input should be a valid integer"),
        (json.dumps(sealed({"dim": 3})), "value: Field required"),
    ],
)
def test_a_record_that_is_damaged_changed_or_of_another_kind_is_refused_in_a_line(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StageError, match=said) as refused:
        read_record(tmp_path / "a.json", Kind, again="run a")
    assert "run a, or dvc repro" in str(refused.value) and "\n" not in str(refused.value)


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    for value in (float("nan"), float("inf")):
        with pytest.raises(StageError, match="not finite"):
            write_record(tmp_path / "a.json", {"value": value})
        with pytest.raises(StageError, match="not finite"):
            files.write_json(tmp_path / "a.json", [value])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"x": [[0.5], None], "n": [1, 2]}, "null in column x"),
        ({"x": [[0.5, None], [1.0]], "n": [1, 2]}, "null in column x"),
        ({"x": [[0.5], [float("nan")]], "n": [1, 2]}, "column x is not finite"),
        ({"x": [[0.5], [float("-inf")]], "n": [1, 2]}, "column x is not finite"),
        ({"x": [[0.5], [1.0]], "n": ["1", "2"]}, "no column n of type Int64"),
        ({"x": [[0.5], [1.0]]}, "no column n of type Int64"),
    ],
)
def test_a_table_holds_the_columns_that_are_asked_for_and_numbers_alone(tmp_path, values, said):
    path = tmp_path / "t.parquet"
    pl.DataFrame(values, strict=False).write_parquet(path)
    with pytest.raises(StageError, match=said):
        read_frame(
            path,
            {"x": pl.List(pl.Float64), "n": pl.Int64()},
            digest=handover.file_digest(path),
            again="run a",
            nullable=["n"],
        )


def test_sets_of_one_run_beside_labels_of_another_are_refused(tmp_path):
    project = Project(tmp_path)

    def write(labels, index):
        frame = pl.DataFrame([("u", [0], [index], "train")], schema=SETS, orient="row")
        write_sets(project, frame=frame, labels=labels, images_digest="ab")

    write(["coats", "hats"], 1)
    old = project.labels.read_bytes()
    write(["boots", "coats", "hats"], 2)
    read_sets(project.sets, project.labels)
    project.labels.write_bytes(old)  # killed between the two
    with pytest.raises(StageError, match=r"sets.parquet is damaged .*: run visagg sets, or dvc repro"):
        read_sets(project.sets, project.labels)


def test_what_images_show_is_of_the_same_run_as_the_labels(tmp_path):
    project, frame = Project(tmp_path), pl.DataFrame([("u", [0], [0], "train")], schema=SETS, orient="row")

    def write(rows):
        table = pl.DataFrame(rows, IMAGE_LABELS, orient="row")
        write_sets(project, frame=frame, labels=["coats", "hats"], images_digest="ab", image_labels=table)
        return project.image_labels.read_bytes()

    old = write([(0, [1]), (3, [0, 1])])
    assert read_image_labels(project.image_labels, project.labels).rows() == [(0, [1]), (3, [0, 1])]
    for wrong in ([(0, [2])], [(0, [1]), (0, [0])]):
        write(wrong)
        with pytest.raises(StageError, match=r"image_labels.parquet is damaged"):
            read_image_labels(project.image_labels, project.labels)
    project.image_labels.write_bytes(old)
    with pytest.raises(StageError, match=r"image_labels.parquet is damaged .*: run visagg sets, or dvc repro"):
        read_image_labels(project.image_labels, project.labels)


def test_tables_of_one_catalogue_beside_images_of_another_are_refused(tmp_path):
    rows = {"items": [("a", 0, [["Hats"]], "")], "purchases": [("u", "a", 1, None)], "rejects": []}
    for name, count in (("a", 1), ("b", 2)):
        write_catalogue(Project(tmp_path / name), rows, count)
    one, other = Project(tmp_path / "a"), Project(tmp_path / "b")
    tables.Catalogue.open(one.catalogue).images()
    shutil.copy(other.images, one.images)
    with pytest.raises(StageError, match="images of another catalogue than its tables"):
        tables.Catalogue.open(one.catalogue).images()
    (one.catalogue / "rejects.parquet").write_bytes((one.catalogue / "items.parquet").read_bytes())
    with pytest.raises(StageError, match=r"rejects.parquet is damaged"):
        tables.Catalogue.open(one.catalogue).table("rejects")


def test_a_head_of_other_sets_is_refused_for_it_may_know_the_users(tmp_path):
    made = World(tmp_path, {"train.cycles": [1]})
    made.train("old", "average")
    made.write_sets(made.sets.with_columns(split=made.sets["split"].reverse()))
    with pytest.raises(StageError, match="trained on other sets"):
        made.evaluate("old", "average")


def test_an_image_that_was_changed_is_refused(tmp_path):
    rows = {"items": [("a", 0, [["Hats"]], "")], "purchases": [("u", "a", 1, None)], "rejects": []}
    project = Project(tmp_path)
    write_catalogue(project, rows, 30)
    images = tables.Catalogue.open(project.catalogue).images()
    assert images.read(7) == b"7"
    images.digests[7] += 1
    with pytest.raises(StageError, match=r"images.h5 is damaged \(image 7\)"):
        images.read(7)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_table_is_read_in_blocks_that_part_nothing_that_belongs_together(size):
    rows = pl.DataFrame({"user": list("aaabccd"), "time": range(7)})
    blocks = list(Table(rows.lazy()).blocks("time", "user", whole="user", size=size))
    assert pl.concat(blocks).equals(rows.select("time", "user"))
    assert sum(block["user"].n_unique() for block in blocks) == 4
    assert [len(block) for block in Table(rows.lazy()).blocks("time", size=3)] == [3, 3, 1]


def test_a_table_s_values_are_looked_at_as_they_are_read():
    table = Table(pl.LazyFrame({"a": [1.0, None, 3.0], "b": [1.0, 2.0, math.inf], "c": [None, 1, 2]}), nullable="c")
    assert table.read("b", where=pl.col("a").is_not_null() & (pl.col("a") < 3))["b"].to_list() == [1.0]
    assert len(next(table.blocks("a", "c", size=1))) == 1
    for column, said in (("a", "a null in column a"), ("b", "column b is not finite")):
        with pytest.raises(ValueError, match=said):
            list(table.blocks(column, size=1))


def test_too_many_labels_are_refused():
    counts = Counter(f"l{n}" for n in range(70_000))
    with pytest.raises(StageError, match="70,000 labels are too many, 65,536 are the most"):
        frequent_labels(counts, make_settings({"sets.least_items": 1}).sets)


def fill(path, text):
    with files.write_aside(path) as aside:
        aside.mkdir()
        (aside / "a").write_text(text)


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_old_folder_stands_until_the_new_one_takes_its_place(tmp_path, monkeypatch, exchanges):
    path, rename = tmp_path / "values", files.os.rename
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    fill(path, "old")

    def failing(source, target):
        if (not exchanges and str(source).endswith(".partial")) or exchanges:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_exchange", failing) if exchanges else patch.setattr(files.os, "rename", failing)
        with pytest.raises(OSError, match="Input/output error"):
            fill(path, "new")
    assert (path / "a").read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["values"]
    fill(path, "new")
    assert (path / "a").read_text() == "new" and [entry.name for entry in tmp_path.iterdir()] == ["values"]


def test_what_a_library_quotes_of_the_system_is_said_as_the_system_does(tmp_path):
    for text in ("I/O error: Input/output error (os error 5)", "can't write (errno = 5, error message = 'x')"):
        with pytest.raises(OSError, match="Input/output error") as told, files.write_aside(tmp_path / "a"):
            raise RuntimeError(text)
        assert told.value.errno == errno.EIO
