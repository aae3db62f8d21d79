"""The page, in a real browser: it opens without network and without errors, sorts, shows its images, fits a phone."""

import base64
import re
import shutil

import pytest

from pipeline.report import figures, page
from pipeline.report.tables import Table
from tests.conftest import jpeg
from tests.synthetic import make_results

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
HOSTILE = "</script><img src=x onerror=alert(1)>"

TABLES = [
    Table(
        "headline",
        "How well each head does",
        ["backbone", "head", "micro AP", *[f"figure {i}" for i in range(12)]],
        [
            ["b0", "nine", (0.9, 0.85, 0.95), *[0.1] * 12],
            ["b0", "gone", "missing", *["missing"] * 12],
            ["b1", "ten", (0.1, 0.05, 0.15), *[0.2] * 12],
            ["b1", "two", (0.25, 0.2, 0.3), *[0.3] * 12],
        ],
        "A definition\nthat goes on.\nA second paragraph.",
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
            "set_id": f"user {place}",
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
        for place in range(2)
    ],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of simulated results."""
    folder = tmp_path_factory.mktemp("page")
    results = make_results(2, simulated=True, missing=[("b1", "average")])
    page.write(results, TABLES, figures.draw(results, folder), GALLERY, folder / "index.html")
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium or Chrome of this machine."""
    if not (found := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip("no Chromium or Chrome here: the page was not opened")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
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


def column(opened, table: str, place: int) -> list[str]:
    """A column's cells, from the top."""
    return opened.locator(f"#{table} tbody td:nth-child({place})").all_inner_texts()


def head(opened, table: str, name: str):
    return opened.locator(f"#{table} th", has_text=re.compile(f"^{name}"))


def test_it_opens_without_errors_and_without_network(desk):
    assert desk.faults == []
    assert desk.title() == "visagg: interests from product photos, demo"
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
    assert sorted_by.count() == 1 and sorted_by.get_attribute("aria-sort") == "descending"


def test_images_show(desk):
    sizes = desk.eval_on_selector_all("#gallery img", "images => images.map(i => [i.naturalWidth, i.clientWidth])")
    assert len(sizes) == 16 and all(natural == 96 and shown > 50 for natural, shown in sizes)
    assert desk.locator(".unusable").all_inner_texts() == ["empty image"] * 2


def test_the_gallery_begins_with_the_best_and_the_published_best(desk):
    shown = desk.eval_on_selector_all("select", "own => own.map(s => s.selectedOptions[0].textContent)")
    assert shown == ["b0 · average_cg", "b0 · average"]


def test_answers_are_marked_in_words_and_follow_the_chosen_head(desk):
    user = desk.locator(".user").first
    one, other = user.locator(".answers ul").all()
    marks = one.locator("li").evaluate_all("items => items.map(i => [i.className, i.textContent])")
    assert marks == [
        ["wrong", "wrong: shoes0.90"],
        ["right", "right: hats0.80"],
        ["missed", f"missed: {HOSTILE}0.25"],
    ]
    assert other.locator("li.missed").count() == 2
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


def test_figures_are_drawn_in_the_colours_of_the_page(desk):
    assert desk.locator("#figures svg[role=img]").count() == len(figures.TITLES)
    ids = desk.eval_on_selector_all("[id]", "own => own.map(e => e.id)")
    assert len(ids) == len(set(ids))
    for scheme, ink in (("dark", "rgb(233, 229, 220)"), ("light", "rgb(28, 27, 25)")):
        desk.emulate_media(color_scheme=scheme)
        fills = desk.eval_on_selector_all("#figures svg text", "own => own.map(t => getComputedStyle(t).fill)")
        assert set(fills) == {ink}
    lost = "own => own.filter(u => !document.querySelector(u.getAttribute('xlink:href'))).length"
    assert desk.eval_on_selector_all("#figures use", lost) == 0


def test_a_phone_has_no_sideways_scrolling_but_in_the_boxes(browser, written):
    phone = browser.new_page(viewport=PHONE)
    phone.goto(written.as_uri())
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = phone.eval_on_selector_all(".scroll", "own => own.filter(e => e.scrollWidth > e.clientWidth).length")
    assert wide >= 1 + len(figures.TITLES)  # the headline, the figures
    phone.close()


def test_without_scripts_everything_but_the_answers_is_there(browser, written):
    opened = browser.new_page(java_script_enabled=False)
    opened.goto(written.as_uri())
    assert opened.get_by_text("need JavaScript").is_visible() and not opened.locator(".choice").is_visible()
    assert opened.locator(".true").first.inner_text() == f"True interests hats, {HOSTILE}"
    assert "0.900 [0.850, 0.950]" in opened.locator("#headline").inner_text()
    opened.close()


def test_what_stands_in_it(written):
    text = written.read_text(encoding="utf-8")
    assert "Simulated data." in text and "b1 average. Declared, but without figures" in text
    glance = text[text.index('class="glance"') : text.index("<nav")]
    assert "items are shared: 98 % of the test sets" in glance, "the best figure stands beside what it may be due to"
    assert "<p>A definition\nthat goes on.</p>" in text and "<p>A second paragraph.</p>" in text
    assert "Without scores: b1 gone." in text
    assert HOSTILE not in text
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    assert written.stat().st_size < 500_000


def test_real_data_without_a_gallery(tmp_path):
    results = make_results(1, ("b0",))
    page.write(results, [], {}, None, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "imulated" not in text and "run <code>visagg gallery</code>" in text


def test_made_twice_it_is_the_same_bytes(written, tmp_path):
    results = make_results(2, simulated=True, missing=[("b1", "average")])
    page.write(results, TABLES, figures.draw(results, tmp_path), GALLERY, tmp_path / "index.html")
    assert (tmp_path / "index.html").read_bytes() == written.read_bytes()


@pytest.mark.parametrize(
    "content, text, interval, key, missing",
    [
        ((0.12345, 0.1, 0.2), "0.123", "[0.100, 0.200]", 0.12345, False),
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
def test_a_cell_sorts_by_its_value(content, text, interval, key, missing):
    assert page.cell(content) == page.Cell(text, interval, key, missing)
