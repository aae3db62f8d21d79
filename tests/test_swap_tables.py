"""What the report says of swapped backbones: swap.md for people, swap.csv for programs, and a table."""

import csv
import io

import pytest

from pipeline.core.handover import write_record
from pipeline.project import Project
from pipeline.report.results import gather
from pipeline.report.tables.swap import COLUMNS, comma_separated, page, swap
from pipeline.report.writing import latex
from tests.support.results import make_swap, report_settings, write_results

DATA = {"source": "demo", "simulated": True, "drawn": True}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("swapped"))
    write_results(project)
    return project


def lines(text: str, start: str) -> list[list[str]]:
    """The cells of the lines that begin so."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith(f"| {start} |")]


def test_for_programs_there_is_a_row_a_head_adapter_and_metric():
    rows = list(csv.reader(io.StringIO(comma_separated([make_swap()]))))
    assert rows[0][:12] == COLUMNS
    named = "old new head adapter pairs metric stay adapted unadapted retrained floor retention"
    assert named.split() == COLUMNS
    assert len(rows) == 1 + 2 * 3 * 2
    assert {len(row) for row in rows} == {len(rows[0])}
    by_name = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    chosen = next(row for row in by_name if row["chosen"] == "yes" and row["metric"] == "micro_ap")
    assert (chosen["head"], chosen["adapter"], chosen["pairs"]) == ("average", "ridge", "500")
    assert (chosen["retention"], chosen["adapted high"], chosen["gain low"]) == ("0.9875", "0.8", "-0.02")
    assert (chosen["negative flips"], chosen["cosine"], chosen["strength"], chosen["rank"]) == ("0.1", "0.9", "0.1", "")
    assert (chosen["unadapted"], chosen["merges"]) == ("", "yes")
    last = by_name[-1]
    assert (last["head"], last["merges"], last["retention"]) == ("maximum", "it takes the largest number", "")
    assert [row["chosen"] for row in by_name if row["head"] == "average"] == ["yes"] * 2 + ["no"] * 4


def test_for_people_it_says_whether_it_is_wise_and_what_it_costs():
    text = page([make_swap()], DATA)
    for words in (
        "**Simulated**",
        "## b0 to b1",
        "Is it wise? On 120 test users, micro AP with b1 adapted is higher than with b0 for 0 of 2 heads",
        "What it costs: 900 images to embed with b1 (2.5 million parameters, b0 has 1.0), of which 500 fit the map, "
        "and at least 64 could",
        "The map has 72 numbers",
        "which 1 of 2 heads (average) can be",
        "not fitted: the dims differ",
        "images that only test users show",
    ):
        assert words in text
    kept, by_pairs = lines(text, "average")
    assert kept[1:4] == ["0.800 [0.790, 0.810]", "0.790 [0.780, 0.800]", "missing"]
    assert by_pairs == ["average", "0.863 [0.853, 0.873]", "0.988 [0.978, 0.998]"]
    first, second = lines(text, "ridge")
    assert (first[1], first[-2:], second[1], second[-2:]) == ("500", ["0.988"] * 2, "64", ["0.863"] * 2)
    assert page([make_swap()], DATA) == text


@pytest.mark.parametrize(
    ("gain", "word"), [((0.01, 0.03), "better"), ((-0.03, -0.01), "worse"), ((-0.01, 0.01), "no difference seen")]
)
def test_adapting_is_better_only_where_the_interval_says_so(gain, word):
    content = make_swap()
    content["heads"]["average"]["adapted"][0]["micro_ap"]["gain"]["interval"] = list(gain)
    text = page([content], DATA)
    assert word in lines(text, "average")[0]
    better = "higher than with b0 for 1 of 2 heads (average)" in text
    assert better == (word == "better")


def test_the_table_shows_the_chosen_adapter(project):
    write_record(project.swap("b0", "b1"), make_swap())
    table = swap(gather(project, report_settings("b0", "b1", swap={"b0": ["b1"]})))
    assert [row[:5] for row in table.rows] == [["b0", "b1", name, "ridge", 500] for name in ("average", "maximum")]
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["retention"] == (0.9875, 0.9775, 0.9975, "")
    assert cells["unadapted"] == "missing"
    assert table.rows[1][-1] == "it takes the largest number"
    assert "0.988 [0.978, 0.998]" in latex(table, DATA)
    assert "Is it wise?" in table.longer[".md"]
    assert table.longer[".csv"].count("\n") == 1 + 2 * 3 * 2
