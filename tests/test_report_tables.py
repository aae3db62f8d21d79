"""The report's tables: what stands in them, to the letter."""

import numpy as np
import polars as pl
import pytest

from pipeline.evaluation import results as saved
from pipeline.ingest.tally import MOST_KEPT
from pipeline.metrics import bootstrap
from pipeline.project import Project
from pipeline.report import contents, published
from pipeline.report.results import Results, gather
from pipeline.report.stage import report
from pipeline.report.table import Measured, Table
from pipeline.report.writing import comma_separated, latex, markdown
from tests.support.records import rewrite, unsealed
from tests.support.results import (
    KS,
    USERS,
    cells,
    report_settings,
    row_of,
    settings_with_a_missing_head,
    write_head,
    write_results,
)
from tests.support.settings import ROOT

GOLDEN = ROOT / "tests/golden"
REAL = {"source": "table", "simulated": False}


@pytest.fixture(scope="module", autouse=True)
def _no_plots():
    """They take most of the time, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "PLOTS", [])
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Project:
    """A report with a head that is missing."""
    project = Project(tmp_path_factory.mktemp("written"))
    write_results(project)
    report(project, settings_with_a_missing_head())
    return project


@pytest.fixture
def project(tmp_path) -> Project:
    """Results that a test may change."""
    write_results(Project(tmp_path))
    return Project(tmp_path)


def test_the_tables_to_the_letter(written):
    """After a change that was meant: look at the difference, then copy the new text to tests/golden."""
    golden = {path.name: path.read_text() for path in sorted(GOLDEN.iterdir())}
    assert {name: (written.tables / name).read_text() for name in golden} == golden
    assert len(golden) == 12


def test_what_this_machine_measured_lies_apart(written):
    times = (written.times / "times.csv").read_text()
    assert "b0,noisy_or,0.1234,0.1\n" in times
    assert "b0,gone,missing,missing\n" in times
    assert "median time on P, 1 thread" in (written.times / "times.md").read_text()
    assert not any("0.1234" in path.read_text() for path in written.tables.iterdir())


def test_what_follows_from_the_spec_is_in_the_table_of_sizes(written):
    row = row_of(written, "size", backbone="b0", head="squeeze_fc")
    assert (row["parameters"], row["folded parameters"]) == ("54", "20")
    assert row["folded MB with backbone"] == "4.0"
    assert row_of(written, "size", head="squeeze_expand_fc")["parameters"] == "1109736"


def test_a_value_is_the_mean_over_seeds_with_its_interval(written):
    frame = saved.read(written.results("b0", "noisy_or")).values().filter(pl.col("by") == "all", metric="micro_ap")
    wanted = bootstrap.estimate(np.column_stack([frame["value"], np.array(frame["samples"].to_list())]))
    row = row_of(written, "headline", backbone="b0", head="noisy_or")
    assert float(row["micro AP"]) == pytest.approx(frame["value"].mean(), abs=1e-6)
    ends = [float(row["micro AP low"]), float(row["micro AP high"])]
    assert ends == pytest.approx([wanted.low, wanted.high], abs=1e-6)


@pytest.fixture(scope="module")
def gathered(written) -> Results:
    return gather(written, report_settings("b0"))


def test_the_tables_ask_of_the_best_head_and_of_averaging(gathered, written):
    assert (gathered.reference, gathered.average) == ({"b0": "squeeze_fc"}, "average")
    assert gathered.best == {"b0": "noisy_or"}
    tests = gathered.comparisons
    asked = tests.filter("asked")
    assert set(asked.select("head", "against").rows()) == {
        ("squeeze_fc", "average"),
        ("noisy_or", "squeeze_fc"),
        ("noisy_or", "image_classifier"),
        ("noisy_or", "average"),
    }
    assert set(tests.filter(~pl.col("asked")).select("head", "against").rows()) == {("average", "squeeze_fc")}
    assert len(tests) == 5 * (4 + len(KS))
    np.testing.assert_allclose(asked["adjusted"], bootstrap.holm(asked["p"].to_numpy()))
    assert (asked["adjusted"] >= asked["p"]).all()
    assert 0 < asked["holds"].sum() < len(asked)
    assert not tests.filter(~pl.col("asked"))["holds"].any()
    rows = cells(written, "comparisons")
    assert len(rows) == len(tests)
    assert {row["differs"] for row in rows if row["head"] == "average"} == {"not asked"}
    assert "| b0         | average " not in (written.tables / "comparisons.md").read_text()


def test_a_p_value_says_no_more_than_a_bootstrap_can(written):
    rows = cells(written, "comparisons")
    assert {row["p"] for row in rows if row["head"] == "noisy_or" and row["metric"] == "micro AP"} >= {"< 0.0001"}
    assert not any("e-" in row["p"] for row in rows)


def test_a_head_that_reaches_true_image_labels_is_said_to(written, project):
    text = (written.tables / "headline.md").read_text()
    assert "noisy_or on b0 reaches image_classifier" in text
    assert row_of(written, "headline", head="nearest_images")["source"] == "measured, with each image's true labels"
    write_head(project.results("b0", "noisy_or"), 0.4)
    report(project, report_settings("b0"))
    assert "noisy_or on b0 stays below image_classifier" in (project.tables / "headline.md").read_text()


def test_a_choice_at_an_edge_of_what_was_tried_is_marked(project):
    report(project, report_settings("b0"))
    assert "Tuning did not exhaust" not in (project.tables / "headline.md").read_text()
    results = saved.read(project.results("b0", "average"))
    training = unsealed(results.folder / "results.json")["training"]
    rewrite(results.folder / "results.json", training={**training, "chosen": training["tried"][-1]})
    report(project, report_settings("b0"))
    assert "Tuning did not exhaust: average on b0 (highest rate)" in (project.tables / "headline.md").read_text()
    assert "| highest rate" in (project.tables / "tuning.md").read_text()
    assert len(cells(project, "tuning")) == 3 * 3, "a row for each rate of each head"


def test_marks_follow_the_corrected_tests(gathered, written):
    letters = {"average": "a", "squeeze_fc": "p", "image_classifier": ""}
    for head in ("average", "squeeze_fc", "noisy_or"):
        tests = gathered.comparisons.filter(head=head, metric="micro_f1", holds=True)
        wanted = {letters[test["against"]] + "-+"[test["difference"] > 0] for test in tests.iter_rows(named=True)}
        wanted -= {"-", "+"}
        marks = row_of(written, "headline", backbone="b0", head=head)["micro F1 differs"]
        assert set(marks.split()) == wanted, head
    assert marks == "p+ a+"


def test_the_published_best_is_chosen_on_validation_not_on_test(project):
    write_head(project.results("b0", "average"), 0.3, micro_ap=0.99)  # no better on test, but validation says so
    assert gather(project, report_settings("b0")).reference == {"b0": "average"}


def test_quality_has_ceiling_floor_and_published_rows(written):
    rows = cells(written, "quality")
    at_two = [row for row in rows if row["source"] == "measured" and row["k"] == "2" and row["head"] != "gone"]
    floor = next(row for row in at_two if row["head"] == "popularity")
    assert len(at_two) == 4
    assert {row["floor F1@k"] for row in at_two} == {floor["F1@k"]}
    assert all(float(row["F1@k"]) <= float(row["ceiling F1@k"]) for row in at_two)
    quoted = {row["head"]: row for row in rows if row["backbone"] == "published"}
    assert quoted["squeeze_fc"]["thresholded Recall@k"] == "0.91"
    assert quoted["squeeze_fc"]["source"] == "published, not comparable"
    assert quoted["squeeze_fc"]["F1@k"] == ""
    assert published.SOURCE in (written.tables / "quality.md").read_text()


def test_segments_cover_the_test_users(written):
    rows = [row for row in cells(written, "segments") if row["head"] == "noisy_or"]
    for by in ("images in the set", "true labels"):
        assert sum(int(row["sets"]) for row in rows if row["divided by"] == by) == USERS
    assert {"head", "middle", "tail"} <= {row["part"] for row in rows}


def test_the_calibration_error_stands_before_and_after_with_its_interval(written):
    assert len(cells(written, "calibration")) == 4, "neither the floor nor what knows the true labels is calibrated"
    row = row_of(written, "calibration", backbone="b0", head="noisy_or")
    values = saved.read(written.results("b0", "noisy_or")).values().filter(metric="ece")
    for when in ("before", "after"):
        frame = values.filter(segment=when)
        wanted = bootstrap.estimate(np.column_stack([frame["value"], np.array(frame["samples"].to_list())]))
        shown = [float(row[f"ECE {when}{end}"]) for end in ("", " low", " high")]
        assert shown == pytest.approx([wanted.value, wanted.low, wanted.high], abs=1e-6)
        assert shown[0] == pytest.approx(frame["value"].mean(), abs=1e-6)
        assert shown[1] < shown[0] < shown[2]
    assert float(row["by chance"]) == pytest.approx(values.filter(segment="by chance")["value"].mean(), abs=1e-3)
    assert (row["slope"], row["offset"]) == ("0.850", "-1.500"), "means over seeds"
    gone = row_of(written, "calibration", head="gone")
    assert {gone[name] for name in ("slope", "offset", "ECE before", "ECE after", "by chance")} == {"missing"}


def test_for_how_many_heads_the_error_is_smaller_is_counted(project):
    write_head(project.results("b0", "average"), 0.6)  # as close to the truth as noisy_or
    values = gather(project, report_settings("b0"))
    errors = {
        (head, when): values.value(("b0", head), "ece", by="calibration", segment=when)["mean"]
        for head in values.heads
        for when in ("before", "after")
    }
    smaller = sum(errors[head, "after"] < errors[head, "before"] for head in values.heads)
    report(project, report_settings("b0"))
    text = (project.tables / "calibration.md").read_text()
    assert f"smaller after calibration for {smaller} of 3 compared heads" in text
    assert "adapter merged in" not in text


def test_the_data_are_counted_as_described(written):
    counts = {row["what"]: row["count"] for row in cells(written, "data")}
    assert counts["items in the catalogue"] == "1200"
    assert counts["Test: share of its images that training sets have too"] == "1.0"
    assert counts["not used, image: empty image"] == "2"
    assert counts["sets with the label hats"] == "190"
    assert f"the first {MOST_KEPT:,}" in (written.tables / "data.md").read_text()
    assert not {"source", "simulated"} & counts.keys()


def test_the_tidy_frame_has_every_value_once(written):
    frame = pl.read_csv(written.tables / "results.csv")
    keys = ["backbone", "head", "metric", "k", "by", "segment"]
    assert frame.select(keys).is_duplicated().sum() == 0
    assert ((frame["low"] <= frame["mean"] + 1e-9) & (frame["mean"] <= frame["high"] + 1e-9)).mean() > 0.99
    row = frame.filter(head="average", metric="f1", by="label", segment="hats")
    truth = saved.read(written.results("b0", "average")).values().filter(metric="f1", by="label", segment="hats")
    assert row["mean"].item() == pytest.approx(truth["value"].mean(), abs=1e-6)


def test_where_the_published_factor_appears_is_said_and_that_it_proves_nothing(written):
    text = (written.tables / "factor.md").read_text()
    assert "a ratio of 2.0: it lies within the interval of: hardly trained. A possible cause" in text
    assert "1.900 [1.800, 2.100]" in text


def test_who_wins_where_and_whether_it_holds_is_said(written):
    text = (written.tables / "conditions.md").read_text()
    assert "gifts: noisy_or, ahead of every other head." in text
    assert "pairs: attention, not shown to be ahead of average." in text
    assert "Attention is preferred in: pairs." in text
    rows = {(row["case"], row["head"]): row for row in cells(written, "conditions")}
    assert rows["pairs", "average"]["best on test"] == "yes"
    assert rows["pairs", "attention"]["preferred"] == "yes"


def test_what_was_not_measured_is_told(project):
    project.ablation.unlink()
    project.cost("b0").unlink()
    report(project, report_settings("b0"))
    assert "run visagg ablate" in (project.tables / "ablation.md").read_text()
    for path in (project.times / "times.md", project.tables / "size.md"):
        assert "Not measured: run visagg cost" in path.read_text()
    assert row_of(project, "headline", backbone="b0", head="average")["parameters"] == "missing"
    assert not (project.tables / "swap.md").exists()
    assert not (project.tables / "factor.md").exists()
    assert 'id="swap"' not in project.page.read_text()


def test_cells_keep_their_meaning_in_every_format():
    rows = [["a|b_c", Measured(0.5, 0.4, 0.6, "p+")], ["d", "missing"], ["e", 1200]]
    table = Table("t", "A title", ["who", "F1"], rows, "Note.")
    assert "a\\|b_c" in markdown(table, REAL)
    assert "0.500 [0.400, 0.600] p+" in markdown(table, REAL)
    assert "1,200" in markdown(table, REAL)
    assert "a|b\\_c" in latex(table, REAL)
    assert latex(table, REAL).startswith("% A title\n% Source: table.\n% Note.\n")
    assert comma_separated(table) == (
        "who,F1,F1 low,F1 high,F1 differs\na|b_c,0.5,0.4,0.6,p+\nd,missing,,,\ne,1200,,,\n"
    )
