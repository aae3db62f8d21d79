"""The page on a phone, a tablet and a desk: nothing cut, nothing hidden without a cue, readable for everyone."""

import pytest

from pipeline.report import page
from pipeline.report.contents import PLOTS, TABLES
from pipeline.report.plots.plot import draw
from tests.support.app import axe, launched
from tests.support.results import make_results
from tests.test_page import GALLERY

SCREENS = {"phone": (390, 844), "tablet": (768, 1024), "desk": (1440, 900)}
CUT = """() => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !e.closest(".scroll") && !e.closest("svg");
}).map((e) => e.outerHTML.slice(0, 80))"""
WITHOUT_CUE = """() => [...document.querySelectorAll(".table .scroll")].filter((box) =>
  box.scrollWidth > box.clientWidth + 1 && box.offsetParent && box.previousElementSibling.hidden
).map((box) => box.closest("section").id)"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of simulated results with all tables and plots that a report has."""
    folder = tmp_path_factory.mktemp("screens")
    results = make_results(4, simulated=True)
    tables = [table for make in TABLES if (table := make(results)) is not None]
    page.write(folder / "index.html", results, tables, pictures=draw(PLOTS, results, folder), gallery=GALLERY)
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def screen(browser, written):
    """Opens the page on a screen; what its console says is a fault."""
    contexts = []

    def opened(name: str, **options):
        width, height = SCREENS[name]
        context = browser.new_context(viewport={"width": width, "height": height}, bypass_csp=True, **options)
        contexts.append((context, faults := []))
        seen = context.new_page()
        seen.on("console", lambda message: faults.append(message.text))
        seen.on("pageerror", lambda error: faults.append(str(error)))
        seen.goto(written.as_uri())
        return seen

    yield opened
    for context, faults in contexts:
        context.close()
        assert faults == []


def unfold(seen) -> None:
    seen.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")


@pytest.mark.parametrize("name", SCREENS)
def test_nothing_is_cut_and_more_columns_have_a_cue(screen, name):
    seen = screen(name)
    for step in (lambda: None, lambda: unfold(seen), lambda: [box.click() for box in seen.locator(".all").all()]):
        step()
        assert seen.evaluate("document.documentElement.scrollWidth") == SCREENS[name][0]
        assert seen.evaluate(CUT) == []
        seen.wait_for_function(f"({WITHOUT_CUE})().length === 0")  # once the observer of sizes has run


@pytest.mark.parametrize("name", SCREENS)
def test_the_score_of_each_head_is_in_sight(screen, name):
    seen = screen(name)
    box = seen.locator("#headline .scroll").bounding_box()
    assert seen.locator("#headline thead th").nth(2).inner_text().startswith("micro AP")
    for row in seen.locator("#headline tbody tr").all():
        for cell in row.locator("td").all()[:3]:
            place = cell.bounding_box()
            assert place["x"] + place["width"] <= box["x"] + box["width"] + 1
    if name != "phone":
        assert seen.locator("#headline .cue").is_hidden(), "the columns that are shown first have room"


def test_the_other_columns_are_a_key_away(screen):
    seen = screen("desk")
    button, columns = seen.locator("#headline .all"), seen.locator("#headline th:visible")
    assert columns.count() == 5 and button.get_attribute("aria-expanded") == "false"
    button.focus()
    seen.keyboard.press("Enter")
    assert columns.count() == 10 and button.get_attribute("aria-expanded") == "true"
    seen.keyboard.press("Enter")
    assert columns.count() == 5


def test_a_phone_shows_the_first_table_and_opens_the_others_by_their_names(screen):
    seen = screen("phone")
    is_open = (
        "() => [...document.querySelectorAll('section details')].filter((d) => d.open).map((d) => d.parentElement.id)"
    )
    assert seen.evaluate(is_open) == ["headline"]
    assert seen.evaluate("document.documentElement.scrollHeight") < 9000
    seen.locator("nav a[href='#quality']").click()
    seen.wait_for_function("document.querySelector('#quality details').open")
    assert seen.evaluate(is_open) == ["headline", "quality"]
    seen.locator(".back").click()
    seen.wait_for_function("scrollY < 1200")


def test_the_finding_stands_on_the_first_screen(screen):
    for name, (_, height) in SCREENS.items():
        seen = screen(name)
        for part in (".finding", "header .warning"):
            place = seen.locator(part).bounding_box()
            assert place["y"] + place["height"] <= height, (name, part)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_people_who_do_not_see_well(screen, tmp_path, scheme):
    script = axe(tmp_path)
    for name in ("phone", "desk"):
        seen = screen(name, color_scheme=scheme)
        seen.add_script_tag(content=script)
        for step in (lambda: None, lambda: unfold(seen)):  # noqa: B023 (called at once)
            step()
            found = seen.evaluate("async () => (await axe.run()).violations")
            assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found] == []
