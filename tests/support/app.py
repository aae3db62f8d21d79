"""The application of a small exported model, served, in a browser with a phone's screen."""

import shutil
import subprocess
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.core.errors import StageError
from pipeline.export import application
from pipeline.export.runtime import write_runtime
from pipeline.export.serve import PAGE, open_server
from pipeline.export.stage import Form, export
from tests.support.carried import Carried, inside

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
PLAIN = "plain.test"  # this machine by a name that a browser does not trust as it does localhost
TRIES = 3  # of npm, whose registry may be busy
AXE = "axe-core@4.14.1"


def make_folder(carried: Carried, top: Path) -> Path:
    """An exported model with its application; the runtime comes by npm, once."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: the application was not opened")
    for attempt in range(TRIES):
        try:
            write_runtime(top / f"runtime{attempt}", None)
            break
        except StageError as error:
            reason = str(error)
    else:
        pytest.skip(f"the browser's runtime is out of reach ({reason})")
    form = Form(app=True, single=True, runtime=top / f"runtime{attempt}")
    with inside(carried.root):
        export(carried.project, ("lite0", "noisy_or"), top / "model", form=form, settings=carried.settings)
    return top / "model"


@contextmanager
def launched():
    """A headless browser."""
    if not (program := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip("no Chromium or Chrome here: the application was not opened")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {PLAIN} 127.0.0.1"
        browser = playwright.chromium.launch(
            executable_path=program, args=["--disable-background-networking", "--disable-component-update", rules]
        )
        yield browser
        browser.close()


@contextmanager
def served(folder: Path, port: int = 0):
    """A server of the folder; yields its port."""
    with open_server(folder, port) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Opened:
    """The application in a tab, and what went wrong there: messages, errors, requests to anywhere else."""

    def __init__(self, context, address: str):
        self.page = context.new_page()
        self.faults: list[str] = []
        origin = address.rsplit("/app/", 1)[0]
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "request",
            lambda request: request.url.startswith((origin, "blob:", "data:")) or self.faults.append(request.url),
        )
        self.page.goto(address)
        self.wait("ready")

    def wait(self, *states: str) -> None:
        self.page.wait_for_selector(",".join(f"html[data-state={state}]" for state in states), timeout=60_000)

    def choose(self, *files: Path) -> None:
        """Chooses photos, and waits until they are read."""
        self.page.set_input_files("#photos", [str(file) for file in files])
        self.wait("done")

    def save(self, button: str) -> bytes:
        """What a button saves."""
        with self.page.expect_download() as download:
            self.page.click(button)
        return Path(download.value.path()).read_bytes()

    def unreadable(self) -> dict[str, str]:
        """The reasons, by file."""
        items = self.page.locator("#faults li").all()
        return {item.locator(".file").inner_text(): item.inner_text().partition("\n")[2] for item in items}

    def vectors(self) -> dict[str, list[float]]:
        """What is kept, by the photo's name."""
        return self.page.evaluate(
            """async () => {
              const request = indexedDB.open("visagg");
              await new Promise((resolve) => (request.onsuccess = resolve));
              const all = request.result.transaction("photos").objectStore("photos").getAll();
              await new Promise((resolve) => (all.onsuccess = resolve));
              request.result.close();
              return Object.fromEntries(all.result.map((photo) => [photo.name, Array.from(photo.vector)]));
            }"""
        )


def address(port: int) -> str:
    return f"http://localhost:{port}/{PAGE}"


def axe(folder: Path) -> str:
    """The script of axe-core, by npm."""
    command = ["npm", "pack", AXE, "--silent", "--ignore-scripts"]
    if all(subprocess.run(command, cwd=folder, capture_output=True, timeout=300).returncode for _ in range(TRIES)):
        pytest.skip("axe-core is out of reach: accessibility was not checked")
    with tarfile.open(next(folder.glob("axe-core*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def rewrite_version(folder: Path) -> None:
    """Makes the folder's service worker speak for its files as they are now."""
    shutil.copyfile(application.SOURCE / application.WORKER, folder / "app" / application.WORKER)
    application.version(folder)
