"""A warning of a library never reaches who makes a report, whatever the results are."""

import warnings

import pytest

from pipeline.core.errors import StageError
from pipeline.core.handover import write_record
from pipeline.project import Project
from pipeline.report import page
from pipeline.report.contents import PLOTS, TABLES
from pipeline.report.plots.plot import draw
from pipeline.report.stage import report
from tests.support.records import rewrite
from tests.support.results import make_results, make_swap, report_settings, write_head, write_results


@pytest.fixture
def project(tmp_path) -> Project:
    write_results(Project(tmp_path))
    return Project(tmp_path)


@pytest.mark.parametrize(
    "heads", [["average"], ["noisy_or"], ["average", "squeeze_fc", "noisy_or"]], ids=lambda heads: str(len(heads))
)
def test_a_report_warns_of_nothing(project, heads):
    write_head(project.results("b1", "average"), 0.4)
    write_head(project.merged_results("b0", "b1", "average"), 0.35)
    write_record(project.swap("b0", "b1"), make_swap())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(project, report_settings("b0", "b1", compare__heads=heads, swap={"b0": ["b1"]}))


@pytest.mark.parametrize(("heads", "backbones", "labels"), [(1, 1, 1), (1, 2, 5), (14, 2, 78), (26, 1, 3)])
def test_few_heads_and_many_labels_are_drawn_without_a_warning(tmp_path, heads, backbones, labels):
    results = make_results(heads, ("b0", "b1")[:backbones], labels=labels)
    tables = [table for make in TABLES if (table := make(results)) is not None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = draw(PLOTS, results, tmp_path)
        page.write(tmp_path / "index.html", results, tables, pictures=pictures, gallery=None)


@pytest.mark.parametrize("name", ["ablation", "conditions", "swap", "cost"])
def test_what_is_of_another_catalogue_is_refused_and_named(project, name):
    write_record(project.swap("b0", "b1"), make_swap())
    paths = {"swap": project.swap("b0", "b1"), "cost": project.cost("b0")}
    path = paths.get(name) or getattr(project, name)
    rewrite(path, **({"classes": 9} if name == "cost" else {"sets_digest": "abc"}))
    with pytest.raises(StageError, match=rf"{path.name} is of (other sets|heads for 9 labels).*: run visagg"):
        report(project, report_settings("b0"))
