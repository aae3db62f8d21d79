"""The page, in a real browser: it opens without network and without errors, sorts, shows its images, fits a phone."""

import base64
import re
import shutil
from dataclasses import replace

import pytest

from pipeline.project import Project
from pipeline.report import page
from pipeline.report.contents import PLOTS
from pipeline.report.plots.plot import Picture, draw
from pipeline.report.table import Measured, Table
from tests.support.images import jpeg
from tests.support.results import make_results

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DESK = {"width": 1280, "height": 900}
HOSTILE = "</script><img src=x onerror=alert(1)>"

TABLES = [
    Table(
        "headline",
        "How well each head does",
        ["backbone", "head", "micro AP", *[f"metric {i}" for i in range(12)]],
        [
            ["b0", "nine", Measured(0.9, 0.85, 0.95), *[0.1] * 12],
            ["b0", "gone", "missing", *["missing"] * 12],
            ["b1", "ten", Measured(0.1, 0.05, 0.15), *[0.2] * 12],
            ["b1", "two", Measured(0.25, 0.2, 0.3), *[0.3] * 12],
        ],
        "A definition:\nit goes on.\nA second paragraph with `visagg --help` in it.",
    ),
    Table(
        "data",
        "The data",
        ["what", "count", "note"],
        [[HOSTILE, 9, "+0.5"], ["many", 1200, "-0.25"], ["few", 88, ""], ["same", 88, "3e-3 (4)"]],
        "",
    ),
]
GALLERY = {
    "labels": ["hats", "shoes", HOSTILE, "totes"],
    "pairs": [["b0", "average_cg"], ["b0", "average"], ["b1", "average_cg"]],
    "missing": [["b1", "gone"]],
    "images": {
        **{
            str(row): {"item_id": f"i{row}", "title": "A hat", "jpeg": base64.b64encode(jpeg(row, 96, 80)).decode()}
            for row in range(8)
        },
        "8": {"item_id": "i8", "title": "", "jpeg": "", "unusable": "empty image"},
    },
    "users": [
        {
            "set_id": f"user {index}",
            "why": "worst answered",
            "f1": 0.5,
            "images": list(range(9)),
            "true": [0, 2],
            "answers": [
                {
                    "f1": 0.5,
                    "weights": [0.3, 0.7, *[0.0] * 6, None],
                    "predicted": [1, 0],
                    "best": [1, 0, 2],
                    "best_scores": [0.9, 0.8, 0.25],
                },
                {"f1": 0.0, "weights": [0.5, 0.5, *[0.0] * 6, None], "predicted": [], "best": [], "best_scores": []},
                {"f1": 0.25, "weights": [1.0, *[0.0] * 7, None], "predicted": [3], "best": [3], "best_scores": [0.6]},
            ],
        }
        for index in range(2)
    ],
}
MISSING = [("b1", "average")]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Picture]:
    """Plots of simulated results."""
    results = make_results(2, labels=2, simulated=True, missing=MISSING)
    return draw(PLOTS, results, tmp_path_factory.mktemp("plots"))


@pytest.fixture(scope="module")
def written(tmp_path_factory, pictures):
    """The page of simulated results."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    results = make_results(2, labels=2, simulated=True, missing=MISSING)
    page.write(path, results, TABLES, pictures=pictures, gallery=GALLERY)
    return path


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium or Chrome of this machine."""
    if not (program := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip("no Chromium or Chrome here: the page was not opened")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def desk(browser, written):
    """The page on a desk, which gathers `faults`: what the console says, what fails, what asks for the network."""
    opened = browser.new_page(viewport=DESK)
    opened.faults = []
    opened.on("console", lambda message: opened.faults.append(message.text))
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("dialog", lambda dialog: opened.faults.append(dialog.message))
    opened.on(
        "request", lambda request: request.url.startswith(("data:", "file:")) or opened.faults.append(request.url)
    )
    opened.goto(written.as_uri())
    yield opened
    assert opened.faults == []  # after all that the tests below did


def column(opened, table: str, number: int) -> list[str]:
    """A column's cells, from the top; columns count from 1."""
    return opened.locator(f"#{table} tbody td:nth-child({number})").all_inner_texts()


def head(opened, table: str, name: str):
    return opened.locator(f"#{table} th", has_text=re.compile(f"^{name}"))


def test_it_opens_without_errors_and_without_network(desk):
    assert desk.faults == []
    assert desk.title() == "visagg: interests from product photos, demo, simulated"
    assert (
        desk.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    )


def test_numbers_sort_by_value_and_what_is_missing_stays_last(desk):
    micro = head(desk, "headline", "micro AP")
    assert micro.get_attribute("aria-sort") is None
    micro.locator("button").click()
    assert micro.get_attribute("aria-sort") == "descending"
    assert column(desk, "headline", 2) == ["nine", "two", "ten", "gone"]
    micro.locator("button").click()
    assert micro.get_attribute("aria-sort") == "ascending"
    assert column(desk, "headline", 2) == ["ten", "two", "nine", "gone"]
    count = head(desk, "data", "count").locator("button")
    count.click()
    assert column(desk, "data", 2) == ["1,200", "88", "88", "9"]
    assert column(desk, "data", 1)[1:3] == ["few", "same"]  # equal rows keep their order
    head(desk, "data", "note").locator("button").click()
    assert column(desk, "data", 3) == ["+0.5", "3e-3 (4)", "-0.25", ""]


def test_text_sorts_by_the_keyboard_too_and_one_column_at_a_time(desk):
    head(desk, "headline", "head").locator("button").focus()
    desk.keyboard.press("Enter")
    assert column(desk, "headline", 2) == ["gone", "nine", "ten", "two"]
    desk.keyboard.press("Space")
    assert column(desk, "headline", 2) == ["two", "ten", "nine", "gone"]
    sorted_by = desk.locator("#headline th[aria-sort]")
    assert sorted_by.count() == 1
    assert sorted_by.get_attribute("aria-sort") == "descending"


def test_images_show(desk):
    sizes = desk.eval_on_selector_all("#gallery img", "images => images.map(i => [i.naturalWidth, i.clientWidth])")
    assert len(sizes) == 16
    assert all(natural == 96 and shown > 50 for natural, shown in sizes)
    assert desk.locator(".unusable").all_inner_texts() == ["empty image"] * 2


def test_the_gallery_begins_with_the_best_and_the_published_best(desk):
    shown = desk.eval_on_selector_all("select", "selects => selects.map(s => s.selectedOptions[0].textContent)")
    assert shown == ["b0 · average_cg", "b0 · average"]


def test_answers_are_marked_in_words_and_follow_the_chosen_head(desk):
    user = desk.locator(".user").first
    left, right = user.locator(".answers ul").all()
    marks = left.locator("li").evaluate_all("items => items.map(i => [i.className, i.textContent])")
    assert marks == [
        ["wrong", "wrong: shoes0.90"],
        ["right", "right: hats0.80"],
        ["missed", f"missed: {HOSTILE}0.25"],
    ]
    assert right.locator("li.missed").count() == 2
    assert user.locator(".weights").first.inner_text().split() == ["A", "0.30", "B", "0.50"]
    assert user.locator(".weights").last.inner_text().split() == ["A", "unused", "B", "unused"]
    tracks = user.locator(".weights > .a").evaluate_all(
        "rows => rows.slice(0, 2).map(r => r.querySelector('.bar').clientWidth / r.querySelector('.track').clientWidth)"
    )
    assert tracks == pytest.approx([0.3, 0.7], abs=0.03)
    desk.locator("select").last.select_option(label="b1 · average_cg")
    assert user.locator(".weights").first.inner_text().split() == ["A", "0.30", "B", "1.00"]
    assert user.locator(".answers ul").last.locator("li.wrong .label").inner_text() == "totes"
    assert "F1 0.25" in user.locator(".answers h4").last.inner_text()


def test_plots_are_drawn_in_the_colours_of_the_page(desk):
    for form in ("wide", "narrow"):
        assert desk.locator(f"#plots .{form} svg[role=img]").count() == len(PLOTS)
    ids = desk.eval_on_selector_all("[id]", "elements => elements.map(e => e.id)")
    assert len(ids) == len(set(ids))
    for scheme, ink in (("dark", "rgb(233, 229, 220)"), ("light", "rgb(28, 27, 25)")):
        desk.emulate_media(color_scheme=scheme)
        fills = desk.eval_on_selector_all("#plots svg text", "texts => texts.map(t => getComputedStyle(t).fill)")
        assert set(fills) == {ink}
    lost = "uses => uses.filter(u => !document.querySelector(u.getAttribute('xlink:href'))).length"
    assert desk.eval_on_selector_all("#plots use", lost) == 0


def test_without_scripts_everything_but_the_answers_is_there(browser, written):
    opened = browser.new_page(java_script_enabled=False)
    opened.goto(written.as_uri())
    assert opened.get_by_text("need JavaScript").is_visible()
    assert not opened.locator(".choice").is_visible()
    assert opened.locator(".true").first.inner_text() == f"True interests hats, {HOSTILE}"
    assert "0.900 [0.850, 0.950]" in opened.locator("#headline").inner_text()
    opened.close()


def test_what_stands_in_it(written):
    text = written.read_text(encoding="utf-8")
    assert "Source: demo. <strong>Simulated</strong>: images drawn by a program" in text
    assert "b1 average. Compared, but without results" in text
    glance = text[text.index('class="finding"') : text.index("<nav")]
    assert "items are shared: 98 % of the test sets" in glance, "the best value stands beside what it may be due to"
    assert "<p>A definition:\nit goes on.</p>" in text
    assert "<p>A second paragraph with <code>visagg --help</code> in it.</p>" in text
    assert "Without scores: b1 gone." in text
    assert HOSTILE not in text
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    assert written.stat().st_size < 500_000


def test_real_data_without_a_gallery(tmp_path):
    results = make_results(1, ("b0",))
    results = replace(results, data={**results.data, "source": "<b>table</b>"})
    page.write(Project(tmp_path).page, results, [], pictures=[], gallery=None)
    text = Project(tmp_path).page.read_text(encoding="utf-8")
    assert "imulated" not in text
    assert "run <code>visagg gallery</code>" in text
    assert '<p class="small">Source: &lt;b&gt;table&lt;/b&gt;.</p>' in text
    assert "<b>table" not in text


def test_at_a_glance_there_is_the_best_head_and_the_best_published_of_each_backbone():
    rows = page.glance(make_results(2, missing=MISSING))
    assert [row["backbone"] for row in rows] == ["b0", "b1"]
    best, reference = rows[0]["heads"]
    assert (best["role"], best["name"]) == ("best on validation", "average_cg")
    assert (reference["role"], reference["name"]) == ("best published head", "average")
    assert float(best["value"].text) > float(reference["value"].text)
    assert rows[1]["heads"][1]["value"] == page.PageCell("missing", missing=True)


def test_made_twice_it_is_the_same_bytes(written, pictures, tmp_path):
    results = make_results(2, labels=2, simulated=True, missing=MISSING)
    page.write(tmp_path / "index.html", results, TABLES, pictures=pictures, gallery=GALLERY)
    assert (tmp_path / "index.html").read_bytes() == written.read_bytes()


def test_a_plot_says_what_is_seen_to_who_cannot_see_it(written, pictures):
    (seen,) = (picture.seen for picture in pictures if picture.name == "reliability")
    title = "How far what the heads claim is from what is true"
    assert written.read_text().count(f'aria-label="{title}. {seen}"') == 2  # wide, and narrow
    drawn = '<svg viewBox="0 0 1 1">\n</svg>'
    svg = page.inline(Picture("p", "Title", drawn, drawn, 'a "b" <c>'), drawn, "p")
    assert 'aria-label="Title. a &#34;b&#34; &lt;c&gt;"' in svg


@pytest.mark.parametrize(
    ("cell", "text", "interval", "key", "missing"),
    [
        (Measured(0.12345, 0.1, 0.2), "0.123", "[0.100, 0.200]", 0.12345, False),
        (Measured(0.12345, 0.1, 0.2, "p+ a-"), "0.123", "[0.100, 0.200] p+ a-", 0.12345, False),
        (12345, "12,345", "", 12345, False),
        (0.25, "0.25", "", 0.25, False),
        ("+0.010", "+0.010", "", 0.01, False),
        ("0.6123 (4)", "0.6123 (4)", "", 0.6123, False),
        ("3rd head", "3rd head", "", None, False),
        ("noisy_or", "noisy_or", "", None, False),
        ("missing", "missing", "", None, True),
        ("", "", "", None, True),
    ],
)
def test_a_cell_sorts_by_its_value(cell, text, interval, key, missing):
    assert page.page_cell(cell) == page.PageCell(text, interval, key, missing)
