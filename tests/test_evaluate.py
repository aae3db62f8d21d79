"""Heads and popularity on the test sets: what is measured, where it goes, and what is refused."""

import shutil

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, f1_score

from pipeline.catalogue.labelled_sets import SETS
from pipeline.core.errors import StageError, StoreError
from pipeline.core.processes import in_processes
from pipeline.evaluation import evaluate as evaluation
from pipeline.evaluation import results
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.popularity import evaluate_popularity
from pipeline.metrics import bootstrap
from pipeline.metrics.calibration import expected_calibration_error
from pipeline.metrics.measure import OVERALL, main_values
from pipeline.project import Project
from pipeline.training import dataset
from tests.support.labelled import write_sets
from tests.support.records import rewrite
from tests.support.settings import make_settings
from tests.support.world import World, contents

HEADS = ["average", "noisy_or"]
RATE = 1 / 300  # which six decimals cannot say
CHANGES = {"compare.heads": HEADS, "train.learning_rates": [RATE, 1e-4], "train.cycles": [4]}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """Two heads are compared and scored; a third is trained, and is not compared."""
    made = World(tmp_path_factory.mktemp("world"), CHANGES)
    made.train("old", *HEADS, "max_fc")
    made.evaluate("old", *HEADS)
    return made


@pytest.fixture
def copy(world, tmp_path) -> World:
    """The same with heads that are not scored, for tests that change something."""
    shutil.copytree(world.project.root / "cache/heads", tmp_path / "cache/heads")
    return World(tmp_path, CHANGES)


def test_the_table_says_what_was_measured_and_where_it_went(copy):
    table = evaluate(copy.project, "old", ("noisy_or", "average", "noisy_or"), copy.settings)
    head, _, *lines = [line.split() for line in table.splitlines()]
    assert " ".join(head) == "head micro F1 macro F1 micro AP macro AP results"
    for line, name in zip(lines, ("noisy_or", "average"), strict=True):
        values = main_values(copy.saved("old", name).values())
        shown = [f"{values[metric.name]:.4f}" for metric in OVERALL]
        assert line == ["old", name, *shown, str(copy.results("old", name))]


def test_all_compared_heads_are_scored_unless_some_are_named(world, copy):
    evaluate(copy.project, "old", ("average",), copy.settings)
    assert [path.name for path in copy.results("old", "average").parent.iterdir()] == ["average"]
    evaluate(copy.project, "old", (), copy.settings)
    assert contents(copy.project.root / "cache/results") == contents(world.project.root / "cache/results")


def test_processes_write_the_same_bytes_as_one_does(world, copy, monkeypatch):
    monkeypatch.setattr(bootstrap, "LEAST_WORK", 0)
    monkeypatch.setattr(bootstrap.joblib, "cpu_count", lambda: 2)
    asked = []
    monkeypatch.setattr(
        evaluation,
        "in_processes",
        lambda *what, jobs, **how: asked.append(jobs) or in_processes(*what, jobs=jobs, **how),
    )
    evaluate(copy.project, "old", (), copy.settings)
    assert asked == [2] and contents(copy.project.root / "cache/results") == contents(
        world.project.root / "cache/results"
    )


def test_many_cells_are_measured_by_few_processes():
    jobs = [bootstrap.measuring_processes(cells, runs=24, resamples=500) for cells in (10, 10**6, 10**7, 10**9)]
    assert jobs == [1, min(joblib.cpu_count(), 4), 1, 1]


def test_a_head_that_is_not_compared_leaves_the_graph_s_folders_alone(world):
    before = {name: contents(world.project.root / "cache" / name) for name in ("heads", "results")}
    table = evaluate(world.project, "old", ("max_fc",), world.settings)
    folder = world.project.root / "cache/tried/old/max_fc/results"
    assert sorted(contents(folder)) == ["results.json", "sets.parquet", "values.parquet"]
    assert str(folder) in table
    assert {name: contents(world.project.root / "cache" / name) for name in ("heads", "results")} == before


def test_every_seed_is_scored_at_its_threshold(world):
    values = world.saved("old", "noisy_or").values()
    head, data = world.trained("old", "noisy_or"), world.data("old", "test")
    assert head.thresholds[0] != head.thresholds[1]
    for seed, threshold, scores in zip(head.seeds, head.thresholds, head.scores(data), strict=True):
        of_seed = dict(values.filter(pl.col("k").is_null(), seed=seed, by="all").select("metric", "value").iter_rows())
        claims = scores >= threshold
        assert of_seed["micro_f1"] == pytest.approx(f1_score(data.truth(), claims, average="micro"))
        assert of_seed["micro_ap"] == pytest.approx(average_precision_score(data.truth(), scores, average="micro"))


def test_the_calibration_error_is_that_of_each_seed_with_its_calibration_and_without(world):
    values, data = world.saved("old", "noisy_or").values(), world.data("old", "test")
    trained, once = world.trained("old", "noisy_or"), np.ones((1, len(data)))
    for seed, head in zip(trained.seeds, trained.heads, strict=True):
        assert (head.slope.item(), head.offset.item()) != (1.0, 0.0)
        errors = dict(values.filter(metric="ece", seed=seed).select("segment", "value").iter_rows())
        assert errors["after"] == expected_calibration_error(dataset.scores(head, data), data.truth(), once)[0]
        head.calibrate(1.0, 0.0)
        wanted = expected_calibration_error(dataset.scores(head, data), data.truth(), once)[0]
        assert errors["before"] == pytest.approx(wanted, abs=1e-5)
        assert errors["before"] != pytest.approx(errors["after"], abs=1e-3)


def test_sets_are_saved_with_their_images_and_what_was_predicted(world):
    saved = world.saved("old", "noisy_or").sets()
    assert len(saved) == 2 * 60
    main = main_values(world.saved("old", "noisy_or").values())
    assert saved["f1@3"].mean() == pytest.approx(main["f1@3"], abs=2e-6)
    saved, head = saved.filter(seed=1), world.trained("old", "noisy_or")
    test = world.sets.filter(pl.col("split") == "test")
    assert saved["set_id"].to_list() == test["set_id"].to_list()
    assert saved["images"].to_list() == test["images"].to_list()
    scores = head.scores(world.data("old", "test"))[1]
    assert saved["best"].list.first().to_list() == scores.argmax(1).tolist()
    assert saved["best_scores"].list.first().to_list() == pytest.approx(scores.max(1).tolist())
    claims = scores >= head.thresholds[1]
    assert saved["predicted"].to_list() == [np.flatnonzero(row).tolist() for row in claims]


def test_segments_are_counted_as_the_sets_have_them(world):
    values = world.saved("old", "average").values().filter(metric="micro_ap", seed=0)
    counted = {tuple(row) for row in values.select("by", "segment", "n").iter_rows()}
    trained, test = (world.sets.filter(pl.col("split") == split) for split in ("train", "test"))
    seen = set(trained["images"].explode().to_list())
    unseen = [np.mean([image not in seen for image in images]) for images in test["images"].to_list()]
    assert all(share == 1 for share in unseen)
    assert ("unseen", "all", 60) in counted
    sizes = test["images"].list.len()
    for name, low, high in (("1", 1, 1), ("2-3", 2, 3), ("4-5", 4, 5)):
        assert ("images", name, sizes.is_between(low, high).sum()) in counted
    assert ("labels", "1", (test["labels"].list.len() == 1).sum()) in counted
    assert {segment for by, segment, _ in counted if by == "frequency"} == {"head", "middle", "tail"}


def test_the_share_of_new_images_is_that_of_images_which_no_training_set_shows(copy):
    trained = copy.sets.filter(pl.col("split") == "train")["images"].explode().unique().to_list()
    images = {0: trained[:3], 1: [*trained[:3], 290, 291], 2: [trained[0], 290], 3: [290, 291]}
    test = copy.sets.with_row_index().with_columns(
        pl.when(pl.col("split") == "test")
        .then(pl.Series([images[i % 4] for i in range(len(copy.sets))], dtype=pl.List(pl.UInt32)))
        .otherwise("images")
        .alias("images")
    )
    copy.write_sets(test.drop("index"))
    copy.train("old", "average")
    values = copy.evaluate("old", "average").filter(by="unseen", metric="micro_f1", seed=0)
    counted = dict(values.select("segment", "n").iter_rows())
    assert counted == {"none": 15, "less than half": 15, "half or more": 15, "all": 15}


def test_curves_are_of_the_kept_runs_alone(world):
    training = world.saved("old", "average").training
    record = world.trained("old", "average").checkpoint
    assert training["chosen"] == vars(record.chosen)
    assert record.chosen.learning_rate == RATE
    assert training["tried"] == [vars(trial) for trial in record.tried]
    assert training["seeds"] == [vars(result) for result in record.seeds]
    heads = world.trained("old", "average").heads
    assert training["calibrations"] == [{"slope": head.slope.item(), "offset": head.offset.item()} for head in heads]
    epochs = training["epochs"]
    assert [(epoch["seed"], epoch["epoch"]) for epoch in epochs] == [(seed, e) for seed in (0, 1) for e in (1, 2, 3, 4)]
    history = pl.read_csv(world.checkpoint("old", "average") / "history.csv")
    assert len(history) == 3 * 4
    assert [epoch["loss"] for epoch in epochs] == history.filter(learning_rate=RATE)["loss"].to_list()


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("fingerprint", {"dim": 24, "weights": "others"}, StoreError, "weights: old one's, not others"),
        ("labels", ["a", "b", "c", "d"], StageError, "other sets or labels"),
        ("sets_digest", "abc", StageError, "other sets or labels"),
    ],
)
def test_a_head_of_other_vectors_or_labels_is_refused_before_anything_is_written(key, value, error, message, copy):
    rewrite(copy.checkpoint("old", "noisy_or") / "checkpoint.json", **{key: value})
    with pytest.raises(error, match=f"noisy_or was trained on .*{message}"):
        evaluate(copy.project, "old", ("average", "noisy_or"), copy.settings)
    assert not any((copy.project.root / "cache/results").rglob("*"))


def test_a_head_that_is_not_trained_is_named_with_what_to_do(copy):
    with pytest.raises(
        StageError, match="cache/tried/old/attention/checkpoint holds no trained head: run visagg train old attention"
    ):
        evaluate(copy.project, "old", ("average", "attention"), copy.settings)


def test_missing_results_are_none_and_damaged_ones_are_named(copy):
    copy.evaluate("old", "average")
    folder = copy.results("old", "average")
    assert results.read(folder.with_name("another")) is None
    saved = results.read(folder)
    for read, name in ((saved.values, "values.parquet"), (saved.sets, "sets.parquet")):
        (folder / name).write_bytes((folder / name).read_bytes()[:-9])
        with pytest.raises(StageError, match=f"{name} is damaged .*: run visagg evaluate, or dvc repro"):
            read()
        (folder / name).unlink()
        with pytest.raises(StageError, match=f"{name} is missing: run visagg evaluate, or dvc repro"):
            read()
    (folder / "results.json").write_text("{}")
    with pytest.raises(StageError, match=r"results.json is damaged"):
        results.read(folder)


# Popularity


@pytest.fixture
def popular(tmp_path) -> pl.DataFrame:
    """Popularity's values. All training sets have label 0, a quarter has 1 or 2; validation sets have nearly all."""
    labels = {"train": [[0], [0, 1], [0, 2], [0]], "validation": [[0, 1, 2], [0, 1]], "test": [[0], [0], [0, 1]]}
    rows = [(f"{split}{i}", [0], of_set, split) for split, sets in labels.items() for i, of_set in enumerate(sets)]
    project = Project(tmp_path)
    frame, labels = pl.DataFrame(rows, schema=SETS, orient="row"), ["hat", "shoe", "belt"]
    write_sets(project, frame=frame, labels=labels, images_digest="abc")
    evaluate_popularity(project, make_settings({"evaluate.ks": [1, 2], "evaluate.resamples": 100}))
    assert sorted(contents(project.popularity)) == ["results.json", "values.parquet"]
    return results.read(project.popularity).values()


def test_popularity_recommends_what_training_sets_have_most(popular):
    values = {
        (metric, k): value for metric, k, value in popular.filter(by="all").select("metric", "k", "value").iter_rows()
    }
    assert values["precision", 1] == 1
    assert set(popular["by"]) == {"all", "label"}, "it is not calibrated"
    assert values["precision", 2] == pytest.approx((1 / 2 + 1 / 2 + 3 / 4) / 3), "of two labels as frequent, either"
    assert values["micro_ap", None] == pytest.approx(3 / 4 * 1 + 1 / 4 * 4 / 9)


def test_popularity_s_threshold_is_the_best_on_validation(popular):
    """A quarter, where all is claimed; on the test sets 1 would be better."""
    [micro_f1] = popular.filter(metric="micro_f1", by="all")["value"]
    assert micro_f1 == pytest.approx(2 * 4 / (9 + 4))
