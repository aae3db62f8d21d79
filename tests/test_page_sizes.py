"""The page on a phone, a tablet and a desk: nothing is cut or hidden without a word, and nobody is shut out."""

import pytest

from pipeline.core.handover import write_record
from pipeline.project import Project
from pipeline.report import page
from pipeline.report.contents import PLOTS, TABLES
from pipeline.report.plots.plot import draw
from pipeline.report.results import gather
from tests.support.app import axe, launched
from tests.support.results import make_swap, report_settings, write_head, write_results
from tests.test_page import GALLERY

SIZES = [(390, 844), (768, 1024), (1440, 900)]
HIDDEN_COLUMNS = """boxes => boxes.filter((box) => {
  const section = box.closest(".table");
  const cue = section.querySelector(".cue");
  const few = box.querySelector(".few .more");
  const said = !cue.hidden && cue.textContent.includes("sideways");
  return (box.scrollWidth > box.clientWidth + 1 && !said) || (few && !section.querySelector(".columns").offsetWidth);
}).map((box) => box.id)"""
CUT = """elements => elements.filter((element) => {
  const { left, right, width } = element.getBoundingClientRect();
  return width && (left < -1 || right > innerWidth + 1) && !element.closest(".scroll, .hidden");
}).map((element) => element.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of all tables and plots, with a swap, merged heads and a gallery."""
    project = Project(tmp_path_factory.mktemp("project"))
    write_results(project)
    write_head(project.results("b1", "average"), 0.4)
    write_head(project.merged_results("b0", "b1", "average"), 0.35)
    write_record(project.swap("b0", "b1"), make_swap())
    results = gather(project, report_settings("b0", "b1", swap={"b0": ["b1"]}))
    pictures = draw(PLOTS, results, project.root)
    tables = [table for make in TABLES if (table := make(results)) is not None]
    page.write(project.page, results, tables, pictures=pictures, gallery=GALLERY)
    return project.page


@pytest.fixture(scope="module")
def browser():
    with launched() as opened:
        yield opened


@pytest.fixture
def at(browser, written):
    """Opens the page at a size; after the test the console must have been silent."""
    opened, faults = [], []

    def open_at(width: int, height: int, **context):
        shown = browser.new_page(viewport={"width": width, "height": height}, **context)
        shown.on("console", lambda message: faults.append(message.text))
        shown.on("pageerror", lambda error: faults.append(str(error)))
        shown.goto(written.as_uri())
        opened.append(shown)
        return shown

    yield open_at
    for shown in opened:
        shown.close()
    assert faults == []


def unfold(shown) -> None:
    shown.eval_on_selector_all(".fold", "folds => folds.forEach((fold) => (fold.open = true))")
    shown.wait_for_timeout(50)  # for the cues, which follow the size of their box


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_cut_and_no_column_is_hidden_without_a_cue(at, size):
    shown = at(*size)
    for all_columns in (False, True):
        if all_columns:
            for button in shown.locator(".columns").all():
                button.click()
        unfold(shown)
        assert shown.evaluate("document.documentElement.scrollWidth") == size[0]
        assert shown.eval_on_selector_all(".table .scroll", HIDDEN_COLUMNS) == []
        assert shown.eval_on_selector_all("body *:not(svg *)", CUT) == []


@pytest.mark.parametrize("size", SIZES)
def test_the_headline_s_first_columns_fit(at, size):
    shown = at(*size)
    heads = [text.split("\n")[0].strip() for text in shown.locator("#headline th:visible").all_inner_texts()]
    assert heads[:4] == ["head", "backbone", "micro AP", "micro F1"]
    assert heads[-1] == "parameters"
    score = shown.locator("#headline tbody tr:nth-child(2) td:nth-child(3)").bounding_box()
    assert score["x"] + score["width"] <= size[0], "the score is seen without scrolling sideways"
    box = shown.locator("#headline .scroll")
    if size[0] > 390:
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth")


def test_all_columns_come_and_go_by_the_keyboard(at):
    shown = at(*SIZES[-1])
    button, columns = shown.locator("#headline .columns"), shown.locator("#headline th:visible")
    few = columns.count()
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    shown.keyboard.press("Enter")
    assert columns.count() == shown.locator("#headline th").count() > few
    assert button.get_attribute("aria-expanded") == "true"
    shown.keyboard.press("Space")
    assert columns.count() == few


def test_a_phone_finds_its_way_around(at):
    shown = at(*SIZES[0], reduced_motion="reduce")
    assert shown.evaluate("document.documentElement.scrollHeight") < 10_000, "sections are folded"
    assert not shown.locator("#data table").is_visible()
    menu = shown.locator(".around summary")
    menu.click()
    shown.locator(".around a", has_text="The data").click()
    shown.locator("#data table").wait_for(state="visible", timeout=10_000)  # comes by an event
    shown.locator(".around div").wait_for(state="hidden", timeout=10_000)
    assert 0 <= shown.locator("#data").bounding_box()["y"] < SIZES[0][1]
    menu.click()
    shown.locator(".around a", has_text="Back to top").click()
    shown.wait_for_function("scrollY === 0", timeout=10_000)


def test_without_scripts_every_column_and_section_is_reachable(at):
    shown = at(*SIZES[0], java_script_enabled=False)
    assert not shown.locator(".columns:visible").count()
    assert shown.locator("#headline th:visible").count() == shown.locator("#headline th").count()
    assert shown.locator("#data table").is_visible()
    assert shown.locator("#headline .cue").is_visible()
    shown.locator(".around summary").click()
    assert shown.locator(".around a", has_text="Back to top").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(at, tmp_path, scheme):
    script = axe(tmp_path)
    for size in (SIZES[0], SIZES[-1]):
        shown = at(*size, color_scheme=scheme, bypass_csp=True)
        unfold(shown)
        shown.add_script_tag(content=script)
        found = shown.evaluate("async () => (await axe.run()).violations")
        assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found] == []
