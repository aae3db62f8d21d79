"""Labels with any name: a report of them is text to everybody who opens it."""

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import polars as pl
import pytest

from pipeline.core.errors import StageError
from pipeline.core.text import printable
from pipeline.project import Project
from pipeline.report import contents, page, writing
from pipeline.report.plots.plot import draw
from pipeline.report.table import Measured, Table
from tests.support.results import make_results

NAMES = ["=1+1", "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-2+3", "\t=1", "\r=1", " =1", "＝1", "<script>alert(1)</script>"]
NAMES += ["<b>x", "`code`", "a|b", "a\nb", "[x](javascript:alert(1))", "![x](y)", "*em*", "_em_", "&lt;", "\\|", "$x^"]
NAMES += [
    "$$",
    "\x00\x07",
    "\x9b31m",
    "\u202eabc",
    "\u2066x",
    "\ufffe",
    "\u2028",
    "y" * 10_000,
    'id="x" url(#y) #1c1b19',
]
NAMES += ["]]>", "--><!--", "{{ 7*7 }}", "https://x.org", "'", '"', "%", "#"]
RUN = tuple("=+-@\t\r")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report whose labels have these names."""
    project = Project(tmp_path_factory.mktemp("hostile"))
    results = make_results(heads=2, backbones=("b0",), labels=len(NAMES))
    names = pl.col("segment").replace({f"label {index}": name for index, name in enumerate(NAMES)})
    object.__setattr__(results, "values", results.values.with_columns(names))
    tables = [Table("labels", "Labels", ["label", "sets"], [[name, -1] for name in NAMES], "Notes.")]
    writing.write_tables(project, results, tables)
    project.plots.mkdir(parents=True)
    pictures = draw([plot for plot in contents.PLOTS if plot.name == "labels"], results, project.plots)
    writing.write_plot_data(project.plots, results)
    pairs = [["b0", results.heads[0]]]
    answer = {"best": [0], "best_scores": [0.5], "predicted": [0], "weights": [], "f1": 1.0}
    user = {"set_id": NAMES[8], "why": "w", "f1": 1.0, "images": [], "true": [0, 8], "answers": [answer]}
    gallery = {"pairs": pairs, "labels": NAMES, "users": [user], "images": {}, "missing": []}
    page.write(project.page, results, tables, pictures=pictures, gallery=gallery)
    return project


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_no_cell_of_csv_is_run_and_numbers_stay_numbers(written):
    for path in (written.tables / "labels.csv", written.tables / "results.csv"):
        for row in rows_of(path):
            for cell in row:
                assert not cell.lstrip().startswith(RUN) or re.fullmatch(r"-?[\d.]+", cell), (path, cell)
    assert [row[1] for row in rows_of(written.tables / "labels.csv")[1:]] == ["-1"] * len(NAMES)
    assert pl.read_csv(written.tables / "results.csv")["mean"].dtype == pl.Float64


def test_markdown_shows_the_names_as_they_are(written):
    text = (written.tables / "labels.md").read_text(encoding="utf-8")
    assert "<" not in text and "y" * 300 not in text
    lines = [line for line in text.split("\n") if line.startswith("|")]
    assert len(lines) == len(NAMES) + 2
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in lines)
    assert "](javascript" not in text.replace("\\]", "")


def test_no_character_breaks_a_file(written):
    for path in (written.root / "reports").rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert all(printable(line) == line for line in text.split("\n")), path


def test_the_plot_is_xml_and_shows_formulas_as_they_are(written):
    tree = ElementTree.parse(written.plots / "labels.svg")
    texts = ["".join(node.itertext()).strip() for node in tree.iter() if node.tag.endswith("text")]
    assert any(text.startswith("$x^") for text in texts) and any(text.startswith("$$") for text in texts)
    assert any(text.startswith("<script>") for text in texts) and max(map(len, texts)) < 300


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.data = [], {}

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.seen:
            self.data.setdefault(self.seen[-1][1].get("id"), data)


def test_the_page_has_no_tag_of_a_name_and_its_json_parses(written):
    text = written.page.read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(text)
    assert [tag for tag, _ in parser.seen].count("script") == 2
    assert "<b>x" not in text and "<script>alert" not in text
    assert json.loads(parser.data["answers"])["labels"] == [printable(name) for name in NAMES]
    assert 'id="x" url(#y) #1c1b19' in text


@pytest.mark.parametrize("cell", [float("nan"), float("inf"), Measured(float("nan"), 0, 1)])
def test_no_form_of_a_table_holds_what_is_no_number(cell):
    table = Table("sizes", "t", ["head", "MB"], [["a", cell]], "")
    data = {"source": "demo", "simulated": False}
    for make in (lambda: writing.markdown(table, data), lambda: writing.latex(table, data)):
        with pytest.raises(StageError, match=r"table sizes, column MB: a number is NaN or infinite"):
            make()
    with pytest.raises(StageError, match="sizes"):
        writing.comma_separated(table)
