"""The report: what is missing is named, what is old is gone, and a new table, plot or metric needs one entry."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from pipeline.core.errors import StageError
from pipeline.core.handover import write_record
from pipeline.evaluation import results as saved
from pipeline.metrics import measure
from pipeline.project import Project
from pipeline.report import contents
from pipeline.report.plots.plot import Drawing, Plot
from pipeline.report.results import Results, gather
from pipeline.report.stage import report
from pipeline.report.table import Table
from tests.support.records import rewrite
from tests.support.results import (
    DESCRIPTION,
    DIGEST,
    cells,
    make_swap,
    report_settings,
    row_of,
    settings_with_a_missing_head,
    write_head,
    write_results,
)
from tests.support.settings import ROOT, write_settings

REAL = {"source": "table", "simulated": False}
NO_GALLERY = {"sets_digest": DIGEST, "labels": [], "pairs": [], "missing": [], "images": {}, "users": []}


@pytest.fixture(scope="module", autouse=True)
def _few_plots():
    """Plots take most of the time, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "PLOTS", contents.PLOTS[:1])
        yield


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Project:
    """Results that no test changes."""
    project = Project(tmp_path_factory.mktemp("evaluated"))
    write_results(project)
    return project


@pytest.fixture(scope="module")
def written(evaluated) -> Project:
    """The report of them."""
    report(evaluated, settings_with_a_missing_head())
    return evaluated


@pytest.fixture
def project(evaluated, tmp_path) -> Project:
    """A copy of the results."""
    for name in ("cache", "data"):
        shutil.copytree(evaluated.root / name, tmp_path / name)
    return Project(tmp_path)


@pytest.fixture
def no_plots(monkeypatch) -> None:
    """A report without any plot."""
    monkeypatch.setattr(contents, "PLOTS", [])


def drawn(results: Results, columns: int) -> Drawing:
    """A plot of nothing but the backbones' names."""
    figure = Figure()
    figure.subplots().set_title(" ".join(results.backbones))
    return Drawing(figure, "How to read it.")


def reports(project: Project) -> dict[str, bytes]:
    """Every file, by its path in reports/."""
    folder = project.root / "reports"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_table_has_three_forms(written):
    names = ("headline", "quality", "size", "comparisons", "segments", "calibration", "tuning")
    names += ("ablation", "factor", "conditions", "data")
    forms = {f"tables/{name}.{form}" for name in names for form in ("md", "csv", "tex")}
    forms |= {f"times/times.{form}" for form in ("md", "csv", "tex")}
    assert {path for path in reports(written) if path.startswith(("tables/", "times/"))} == {
        *forms,
        "tables/results.csv",
    }


def test_a_new_report_leaves_nothing_of_the_last_one(written, project, monkeypatch):
    """Another source, more backbones, a swap and merged heads; then what the shared report is of."""
    write_record(project.description, {**DESCRIPTION, **REAL})
    simulated = project.conditions.read_bytes()
    project.conditions.unlink()
    write_head(project.results("b1", "average"), 0.4)
    write_head(project.merged_results("b0", "b1", "average"), 0.35)
    write_record(project.swap("b0", "b1"), make_swap())
    write_record(
        project.gallery,
        {"sets_digest": DIGEST, "labels": [], "pairs": [["b1", "average"]], "missing": [], "images": {}, "users": []},
    )
    with monkeypatch.context() as patch:
        patch.setattr(contents, "PLOTS", [Plot("old", "A plot of old", drawn)])
        report(project, report_settings("b0", "b1", swap={"b0": ["b1"]}))
    old = reports(project)
    assert {"metrics/b1/average_from_b0.json", "plots/old.svg"} <= old.keys()
    assert {"tables/swap.md", "tables/swap.csv", "tables/swap.tex"} <= old.keys()
    assert b'id="swap"' in old["index.html"]
    assert all(b"b1" in old[name] for name in ("index.html", "plots/old.svg", "tables/quality.csv"))
    assert not any(b"imulated" in content for content in old.values())
    write_record(project.description, DESCRIPTION)
    project.swap("b0", "b1").unlink()  # as DVC does
    project.conditions.write_bytes(simulated)
    report(project, settings_with_a_missing_head())
    assert reports(project) == reports(written), "the same results in another folder are the same bytes"


def test_merged_heads_are_measured_but_not_compared(project, no_plots):
    write_head(project.results("b1", "average"), 0.4)
    write_head(project.merged_results("b0", "b1", "average"), 0.35)
    write_record(project.swap("b0", "b1"), make_swap())
    settings = report_settings("b0", "b1")
    report(project, settings)
    row = row_of(project, "headline", backbone="b1", head="average from b0")
    values = saved.read(project.merged_results("b0", "b1", "average")).values()
    micro_ap = values.filter(by="all", metric="micro_ap")["value"].mean()
    assert float(row["micro AP"]) == pytest.approx(micro_ap, abs=1e-6)
    assert (row["parameters"], row["source"]) == ("35", "measured, adapter merged in")
    assert row_of(project, "headline", backbone="b1", head="average")["source"] == "measured"
    assert "average from b0" in (project.tables / "results.csv").read_text()
    assert json.loads((project.metrics / "b1/average_from_b0.json").read_text())["micro_ap"] == round(micro_ap, 6)
    assert float(row_of(project, "calibration", backbone="b1", head="average from b0")["ECE before"]) > 0
    for name in ("comparisons", "quality", "size", "tuning", "segments"):
        assert "from b0" not in (project.tables / f"{name}.csv").read_text(), name
    for name in ("f1_at_k", "training"):
        assert "from b0" not in (project.plots / f"{name}.csv").read_text(), name
    assert "maximum from b0" not in (project.tables / "headline.md").read_text(), "it does not merge"
    assert "from b0" not in "".join(gather(project, settings).heads)


def test_a_missing_pair_is_named_and_the_rest_stands(project, no_plots):
    report(project, report_settings("b0", "b1"))
    assert "b1 noisy_or. Compared, but without results" in project.page.read_text()
    assert row_of(project, "headline", backbone="b1", head="noisy_or")["micro F1"] == "missing"
    assert row_of(project, "headline", backbone="b0", head="noisy_or")["micro F1"] != "missing"
    for name in ("quality", "size"):
        rows = [row for row in cells(project, name) if row["backbone"] == "b1"]
        assert rows, name
        assert all("missing" in row.values() for row in rows), name
    assert "b1,noisy_or,missing" in (project.times / "times.csv").read_text()


def test_only_compared_pairs_are_shown(project, no_plots):
    write_head(project.results("b0", "stray"), 0.5)
    report(project, report_settings("b0"))
    assert not any(b"stray" in content or "stray" in path for path, content in reports(project).items())


def test_a_gallery_of_heads_that_are_compared_no_more_is_not_shown(project, no_plots):
    gallery = {
        "sets_digest": DIGEST,
        "labels": ["hats"],
        "pairs": [["b1", "average"]],
        "missing": [],
        "images": {},
        "users": [],
    }
    write_record(project.gallery, gallery)
    report(project, report_settings("b0"))
    assert "No gallery of these heads was made" in project.page.read_text()
    write_record(project.gallery, {**gallery, "pairs": [["b0", "average"]]})
    report(project, report_settings("b0"))
    assert "b0 · average" in project.page.read_text()


def test_metrics_for_dvc_are_the_values_of_the_tables(written):
    values = json.loads((written.metrics / "b0/average.json").read_text())
    row = row_of(written, "headline", backbone="b0", head="average")
    assert values["micro_f1"] == pytest.approx(float(row["micro F1"]), abs=1e-6)
    assert list(values) == ["micro_f1", "macro_f1", "micro_ap", "macro_ap", "f1@2", "f1@10"]
    names = {path for path in reports(written) if path.startswith("metrics/")}
    heads = ("average", "noisy_or", "squeeze_fc", "image_classifier", "nearest_images")
    assert names == {"metrics/popularity.json", *(f"metrics/b0/{head}.json" for head in heads)}


def test_simulated_data_and_those_left_out_are_named_on_every_page(written):
    for path in [*written.tables.glob("*.md"), *written.times.glob("*.md")]:
        assert "**Simulated**" in path.read_text(), path
    text = (written.tables / "headline.md").read_text()
    assert "3 users without a label and 1 without an image are left out" in text
    assert "100 % of the test sets' images are in training sets too" in text


def test_a_new_metric_needs_an_entry_alone(project, no_plots, monkeypatch):
    def accuracy(predictions, weights):
        return weights @ (predictions.predicted == predictions.truth).mean(1) / weights.sum(1)

    metric = measure.Metric(name="accuracy", title="share right", of=accuracy, by_segment=True)
    monkeypatch.setattr(measure, "OVERALL", (*measure.OVERALL, metric))
    write_head(project.results("b0", "noisy_or"), 0.6)
    report(project, report_settings("b0"))
    values = saved.read(project.results("b0", "noisy_or")).values().filter(by="all", metric="accuracy")["value"]
    row = row_of(project, "headline", backbone="b0", head="noisy_or")
    assert float(row["share right"]) == pytest.approx(values.mean(), abs=1e-6)
    assert row_of(project, "headline", backbone="b0", head="average")["share right"] == "missing"
    assert float(row_of(project, "segments", part="tail", head="noisy_or")["share right"]) > 0
    assert json.loads((project.metrics / "b0/noisy_or.json").read_text())["accuracy"] == round(values.mean(), 6)
    assert "share right" not in cells(project, "ablation")[0], "it was not measured there"


def test_a_new_table_and_a_new_plot_need_a_function_and_an_entry(project, monkeypatch):
    def table(results: Results) -> Table:
        return Table("mine", "A table of mine", ["backbone"], [[name] for name in results.backbones], "A note.")

    monkeypatch.setattr(contents, "TABLES", [table])
    monkeypatch.setattr(contents, "PLOTS", [Plot("mine", "A plot of mine", drawn)])
    report(project, report_settings("b0"))
    assert {path.name for path in project.tables.iterdir()} == {"mine.md", "mine.csv", "mine.tex", "results.csv"}
    assert (project.tables / "mine.csv").read_text() == "backbone\nb0\n"
    assert "How to read it. Source: demo." in (project.plots / "mine.svg").read_text()
    page = project.page.read_text()
    assert 'id="mine"' in page
    assert 'aria-label="A plot of mine"' in page


def test_nothing_of_torch_images_or_weights_is_needed(project, tmp_path):
    for name in ("torch", "timm", "h5py", "openvino"):
        package = tmp_path / "absent" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"raise ImportError('there is no {name} here')")
    words = write_settings(tmp_path / "params.yaml", {"compare.heads": ["average", "noisy_or"], "swap": {}})
    for name in ("average", "noisy_or"):
        shutil.copytree(project.results("b0", name), project.results("lite0", name))
    code = "from pipeline.report import contents; contents.PLOTS[1:] = []; from pipeline.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "report"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'absent'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert row_of(project, "headline", backbone="lite0", head="noisy_or")["micro F1"] != "missing"


def test_what_is_absent_or_damaged_is_told(project):
    with pytest.raises(StageError, match="no compared backbone and head has results: run visagg evaluate"):
        report(project, report_settings("b1"))
    (project.results("b0", "noisy_or") / "values.parquet").write_bytes(b"nothing")
    with pytest.raises(StageError, match=r"noisy_or/values.parquet is damaged"):
        report(project, report_settings("b0"))
    for path in (project.ablation, project.cost("b0"), project.description):
        content = path.read_text()
        path.write_text("{")
        with pytest.raises(StageError, match=f"{path.name} is damaged"):
            report(project, report_settings("b0", compare__heads=["average"]))
        path.write_text(content)
    project.description.unlink()
    with pytest.raises(StageError, match=r"description.json is missing: run visagg sets"):
        report(project, report_settings("b0"))
    assert not any((project.root / "reports").rglob("*"))


def test_results_that_do_not_belong_together_are_told_with_what_makes_them_anew(project):
    rewrite(project.popularity / saved.RECORD, sets_digest="abc")
    with pytest.raises(StageError, match=r"popularity is of other sets: run visagg popularity, or dvc repro"):
        report(project, report_settings("b0"))
    rewrite(project.popularity / saved.RECORD, sets_digest=DIGEST, resamples=3)
    with pytest.raises(StageError, match=r"have other resamples: run visagg evaluate, or dvc repro"):
        report(project, report_settings("b0"))
