"""The application, in a real browser with a phone's screen: what predict says, with no network but its own folder."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.export.predict.exported import open_exported
from pipeline.export.predict.interests import predict
from pipeline.export.predict.photos import find_photos
from pipeline.export.predict.trained import TrainedModel
from tests.support.app import PHONE, PLAIN, Opened, address, axe, launched, rewrite_version, served
from tests.support.carried import inside
from tests.support.images import jpeg


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def port(exported_app):
    with served(exported_app) as port:
        yield port


@pytest.fixture
def phone(browser, port):
    """The application on a phone that has never seen it; nothing may have gone wrong there at the end."""
    context = browser.new_context(**PHONE)
    opened = Opened(context, address(port))
    yield opened
    assert opened.faults == []
    context.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> list[Path]:
    """Some photos."""
    top = tmp_path_factory.mktemp("shots")
    paths = [top / f"{seed}.jpg" for seed in range(6)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(seed, 90 + 20 * seed, 120))
    return paths


def by_label(said: dict, key: str) -> dict:
    return {one["label"]: one[key] for one in said["interests"]}


def test_it_says_what_predict_says_of_the_exported_and_of_the_trained_model(phone, carried, exported_app, shots):
    phone.choose(*shots)
    said = json.loads(phone.save("#save-json"))
    with inside(carried.root):
        trained = TrainedModel(carried.project, "lite0", "noisy_or", settings=carried.settings).model()
    for model in (open_exported(exported_app), trained):
        expected = predict([*find_photos(shots)], model, 2).content
        assert by_label(said, "probability") == pytest.approx(by_label(expected, "probability"), abs=1e-3)
        assert by_label(said, "predicted") == by_label(expected, "predicted")
        for label, photos in by_label(expected, "photos").items():
            weights = {Path(photo["file"]).name: photo["weight"] for photo in photos}
            shown = {photo["file"]: photo["weight"] for photo in by_label(said, "photos")[label]}
            assert shown == pytest.approx(weights, abs=0.02)
    assert said.keys() == expected.keys() and said["interests"][0].keys() == expected["interests"][0].keys()
    assert phone.save("#save-picture").startswith(b"\x89PNG")


def test_an_interest_opens_to_the_photos_that_speak_for_it(phone, shots):
    phone.choose(*shots)
    first = phone.page.locator("#chart details").first
    assert not first.locator("img").first.is_visible()
    first.locator("summary").tap()
    said = json.loads(phone.save("#save-json"))["interests"][0]
    shown = first.locator("li").all_inner_texts()
    assert shown[0].split("\n") == [f"{round(100 * said['photos'][0]['weight'])} %", said["photos"][0]["file"]]


def test_a_photo_can_be_removed_and_put_back(phone, shots):
    phone.choose(*shots[:3])
    before = json.loads(phone.save("#save-json"))
    phone.page.locator("#grid button").nth(1).tap()
    phone.page.wait_for_selector("#undo:not([hidden])")
    phone.page.wait_for_selector("#grid li:nth-child(3)", state="detached")
    after = json.loads(phone.save("#save-json"))
    assert {photo["file"] for photo in after["interests"][0]["photos"]} == {"0.jpg", "2.jpg"}
    assert by_label(after, "probability") != by_label(before, "probability")
    assert "→" in phone.page.inner_text("#chart")
    phone.page.tap("#restore")
    phone.page.wait_for_selector("#grid li:nth-child(3)")
    assert json.loads(phone.save("#save-json")) == before


def test_reading_can_be_stopped(phone, tmp_path):
    paths = [tmp_path / f"{seed}.jpg" for seed in range(60)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(seed, 1500, 1500))
    phone.page.set_input_files("#photos", [str(path) for path in paths])
    phone.page.tap("#stop")
    phone.wait("done")
    assert 0 < phone.page.locator("#grid li").count() < 60


def test_photos_are_kept_until_they_are_deleted(phone, shots):
    phone.choose(*shots[:3])
    before = json.loads(phone.save("#save-json"))
    phone.page.reload()
    phone.wait("ready")
    assert json.loads(phone.save("#save-json")) == before
    phone.choose(*shots[:3])  # the same ones: they count once
    assert phone.page.locator("#grid li").count() == 3
    phone.page.click("#delete")
    phone.page.click("#sure button[value=no]")
    assert phone.page.locator("#grid li").count() == 3
    phone.page.click("#delete")
    phone.page.click("#delete-now")
    phone.wait("ready")
    assert phone.vectors() == {} and not phone.page.is_visible("#chart")
    phone.page.reload()
    phone.wait("ready")
    assert phone.page.locator("#grid li").count() == 0


def test_it_opens_and_reads_photos_with_the_server_gone(browser, exported_app, shots):
    context = browser.new_context(**PHONE)
    with served(exported_app) as port:
        phone = Opened(context, address(port))
        phone.page.evaluate("async () => { await navigator.serviceWorker.ready; }")
        phone.page.reload()  # from now on the service worker answers
        phone.wait("ready")
        phone.choose(shots[0])
    phone.page.reload()
    phone.wait("ready")
    assert phone.page.locator("#grid li").count() == 1
    phone.choose(shots[1])
    assert phone.page.locator("#grid li").count() == 2
    assert phone.faults == []
    context.close()


def test_a_new_version_is_offered_and_the_old_one_goes_on_until_it_is_taken(browser, exported_app, shots):
    context = browser.new_context(**PHONE)
    page, style = exported_app / "app/index.html", exported_app / "app/app.css"
    before = page.read_bytes(), (exported_app / "app/sw.js").read_bytes()
    with served(exported_app) as port:
        phone = Opened(context, address(port))
        phone.page.evaluate("async () => { await navigator.serviceWorker.ready; }")
        phone.page.reload()
        phone.wait("ready")
        page.write_text(page.read_text().replace("What do these photos say?", "A new question?"))
        rewrite_version(exported_app)
        phone.page.reload()
        phone.page.wait_for_selector("#update:not([hidden])")
        assert phone.page.inner_text("h1") == "What do these photos say?"
        phone.page.tap("#renew")
        phone.page.wait_for_selector("h1:text('A new question?')")
        phone.wait("ready")
    page.write_bytes(before[0])
    (exported_app / "app/sw.js").write_bytes(before[1])
    assert style.exists() and phone.faults == []
    context.close()


def test_photos_that_another_application_shares_are_read(phone, shots):
    phone.page.evaluate("async () => { await navigator.serviceWorker.ready; }")
    phone.page.reload()
    phone.wait("ready")
    phone.page.evaluate(
        """async (text) => {
          const form = new FormData();
          const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
          form.append("photos", new File([bytes], "from elsewhere.jpg"));
          await fetch("share", { method: "POST", body: form });
        }""",
        base64.b64encode(shots[0].read_bytes()).decode(),
    )
    phone.page.goto(phone.page.url + "?shared=1")
    phone.wait("done")
    assert phone.page.inner_text("#grid .file") == "from elsewhere.jpg"
    assert "shared" not in phone.page.url


def test_without_https_it_works_all_the_same_and_digests_are_the_same(browser, exported_app, shots):
    """As on a phone that is shown the application over the local network."""
    context = browser.new_context(**PHONE)
    with served(exported_app) as port:
        phone = Opened(context, address(port).replace("localhost", PLAIN))
        assert not phone.page.evaluate("() => globalThis.isSecureContext")
        phone.choose(*shots[:2], shots[0])
        assert phone.page.locator("#grid li").count() == 2
        given = phone.page.evaluate(
            """async () => {
              const { sha256 } = await import("/app/digest.js");
              return [0, 1, 55, 56, 63, 64, 1000].map((length) => sha256(new Uint8Array(length).fill(length)));
            }"""
        )
        expected = [
            hashlib.sha256(bytes([length % 256]) * length).hexdigest() for length in (0, 1, 55, 56, 63, 64, 1000)
        ]
        assert given == expected
        assert phone.faults == []
    context.close()


def test_one_file_opens_from_a_folder_without_a_server(browser, exported_app, shots):
    context = browser.new_context(**PHONE)
    phone = Opened(context, (exported_app / "app/single.html").as_uri())
    phone.choose(*shots)
    said = json.loads(phone.save("#save-json"))
    expected = predict([*find_photos(shots)], open_exported(exported_app), 2).content
    assert by_label(said, "probability") == pytest.approx(by_label(expected, "probability"), abs=1e-3)
    assert phone.faults == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_people_who_do_not_see_well(browser, port, shots, tmp_path, scheme):
    script = axe(tmp_path)
    context = browser.new_context(**PHONE, color_scheme=scheme, bypass_csp=True)
    phone = Opened(context, address(port))

    def violations() -> list[str]:
        found = phone.page.evaluate("async () => (await axe.run()).violations")
        return [f"{one['id']}: {one['nodes'][0]['html'][:100]}" for one in found]

    phone.page.add_script_tag(content=script)
    assert violations() == []
    (tmp_path / "none.jpg").write_bytes(b"none")
    phone.choose(*shots, tmp_path / "none.jpg")
    phone.page.locator("#chart summary").first.tap()
    phone.page.locator("#grid button").first.tap()
    phone.page.wait_for_selector("#undo:not([hidden])")
    assert violations() == []
    phone.page.tap("#delete")
    assert violations() == []
    context.close()


def test_everything_is_reached_by_keyboard_and_large_enough_for_a_finger(phone, shots):
    phone.choose(*shots[:2])
    reached = set()
    for _ in range(60):
        phone.page.keyboard.press("Tab")
        reached.add(phone.page.evaluate("() => document.activeElement.id || document.activeElement.tagName"))
    assert {"photos", "folder", "SUMMARY", "BUTTON", "save-json", "save-picture", "delete"} <= reached
    for control in phone.page.locator("button, summary, .pick").all():
        if control.is_visible():
            box = control.bounding_box()
            assert box["height"] >= 44, control.inner_text()
    wide = phone.page.evaluate("() => document.documentElement.scrollWidth")
    assert wide == 390


@pytest.mark.long
def test_five_hundred_photos_leave_no_memory_behind(phone, tmp_path):
    sizes = []
    for batch in range(5):
        paths = [tmp_path / f"{batch}-{index}.jpg" for index in range(100)]
        for index, path in enumerate(paths):
            path.write_bytes(jpeg(1000 * batch + index, 1600, 1200))
        phone.choose(*paths)
        browsers = [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]
        sizes.append(sum(one.memory_info().rss for one in browsers))
    print([f"{size / 1e6:.0f} MB" for size in sizes])
    assert sizes[-1] < 1.2 * sizes[1]


def test_vectors_are_those_of_the_pipeline(phone, exported_app, shots):
    phone.choose(*shots)
    model = open_exported(exported_app)
    from pipeline.export.predict.reading import read_photos

    for read in read_photos(find_photos(shots), model, 2):
        given = np.array(phone.vectors()[Path(read.photo.name).name])
        assert given == pytest.approx(read.vector, abs=2e-3)
