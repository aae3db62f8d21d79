"""What an exported model costs on a phone: megabytes, and milliseconds in a browser's runtime, beside the native one.

The browser is a headless Chromium of this machine, so its times are those of this machine's processor. Browser and
native runtime take turns; both have one thread and read one photo after the other.
"""

import base64
import contextlib
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from pipeline.core.errors import StageError, Unusable
from pipeline.core.files import write_json
from pipeline.core.machine import processor
from pipeline.core.progress import Progress
from pipeline.export.predict.exported import BACKBONE, HEAD, open_exported, session
from pipeline.export.predict.photos import find_photos
from pipeline.export.serve import PAGE, open_server
from pipeline.images import prepare

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SEED = {"backbone": 13.0, "head": 3.0}  # MB: A. Savchenko et al., arXiv 1907.04519, and the published squeeze_fc
SET = 8  # photos of a decision
STEPS = ("decode and resize", "backbone", "decision")
INSTALL = "playwright is not installed: pip install 'visagg[bench]'"
# A round in the page: milliseconds of each step for each photo, by the application's own modules.
ROUND = """async ([photos, set]) => {
  const { decode } = await import("/app/decode.js");
  globalThis.bench ??= await (async () => {
    const config = await (await fetch("/config.json")).json();
    const { openModels } = await import("/app/runtime.js");
    return { config, models: await openModels(config) };
  })();
  const { config, models } = globalThis.bench;
  const times = [[], [], []];
  const vectors = [];
  for (const photo of photos) {
    const bytes = Uint8Array.from(atob(photo), (character) => character.charCodeAt(0));
    const start = performance.now();
    const { pixels } = await decode(bytes, config.preprocessing);
    const decoded = performance.now();
    vectors.push(await models.embed(pixels));
    times[0].push(decoded - start);
    times[1].push(performance.now() - decoded);
    const before = performance.now();
    await models.answer(vectors.slice(-set));
    times[2].push(performance.now() - before);
  }
  return times;
}"""


@dataclass(frozen=True)
class Turns:
    """How much is measured.

    Attributes:
        photos: of the folder, from all over it.
        rounds: turns that each runtime takes.
    """

    photos: int = 20
    rounds: int = 5


def bench_exported(folder: Path, images: Path, *, turns: Turns, json_path: Path | None = None) -> str:
    """Measures an exported folder with its application.

    Args:
        folder: what visagg export --app left.
        images: a folder of photos.
        turns: how much is measured.
        json_path: where the values go, too.

    Returns:
        Two tables for people.

    Raises:
        StageError: when there is no application, no photo, no browser, or a photo cannot be read.
    """
    photos = _photos(images, turns.photos)
    native = _Native(folder)
    times: dict[str, list[list[float]]] = {"browser": [[], [], []], "native": [[], [], []]}
    with _page(folder) as page, Progress("bench", turns.rounds, "rounds") as progress:
        encoded = [base64.b64encode(photo).decode() for photo in photos]
        page.evaluate(ROUND, [encoded[:2], SET])  # what is opened and compiled is not measured
        native.round(photos[:2])
        for _ in range(turns.rounds):
            for name, measured in (("browser", page.evaluate(ROUND, [encoded, SET])), ("native", native.round(photos))):
                for step, milliseconds in enumerate(measured):
                    times[name][step] += milliseconds
            progress.add()
    values = _values(folder, times, turns)
    if json_path:
        write_json(json_path, values)
    return _text(values)


def _photos(folder: Path, count: int) -> list[bytes]:
    """Some photos from all over a folder; what is no photo does not count."""
    found = list(find_photos([folder]))
    photos = []
    for index in np.unique(np.linspace(0, len(found) - 1, count).astype(int)):
        data = found[index].read()
        with contextlib.suppress(Unusable):
            prepare(data, [])
            photos.append(data)
    if not photos:
        raise StageError(f"{folder} holds no photos")
    return photos


class _Native:
    """The same by ONNX Runtime and the pipeline's own decoding."""

    def __init__(self, folder: Path):
        self._crop = open_exported(folder).crop
        self._backbone, self._head = session(folder / BACKBONE), session(folder / HEAD)

    def round(self, photos: list[bytes]) -> list[list[float]]:
        """Milliseconds of each step for each photo."""
        times: list[list[float]] = [[], [], []]
        vectors: list[np.ndarray] = []
        for photo in photos:
            clock = [time.perf_counter()]
            pixels = prepare(photo, [self._crop])[0]
            clock.append(time.perf_counter())
            vectors.append(self._backbone.run(["vectors"], {"pixels": pixels[None]})[0][0])
            clock.append(time.perf_counter())
            few = np.stack(vectors[-SET:])[None]
            self._head.run(None, {"vectors": few, "mask": np.ones(few.shape[:2], bool)})
            clock.append(time.perf_counter())
            for step, milliseconds in enumerate(times):
                milliseconds.append(1000 * (clock[step + 1] - clock[step]))
        return times


@contextlib.contextmanager
def _page(folder: Path) -> Iterator[Any]:
    """The application in a browser."""
    if (program := next(filter(None, map(shutil.which, BROWSERS)), None)) is None:
        raise StageError("no Chromium or Chrome here: install one to measure the browser's runtime")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise StageError(INSTALL) from None
    with open_server(folder, 0) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-background-networking"])
        page = browser.new_page()
        page.goto(f"http://localhost:{server.server_address[1]}/{PAGE}")
        page.wait_for_selector("html[data-state=ready]")
        yield page
        browser.close()
        server.shutdown()


def _values(folder: Path, times: dict[str, list[list[float]]], turns: Turns) -> dict:
    """All that was measured, as JSON values."""
    medians = {
        runtime: {step: round(statistics.median(of_step), 3) for step, of_step in zip(STEPS, steps, strict=True)}
        for runtime, steps in times.items()
    }
    sizes = {name: (folder / file).stat().st_size for name, file in (("backbone", BACKBONE), ("head", HEAD))}
    app = [path for path in (folder / "app").rglob("*") if path.is_file() and path.name != "single.html"]
    return {
        "processor": processor(),
        "photos": turns.photos,
        "rounds": turns.rounds,
        "bytes": {
            **sizes,
            "runtime": sum(path.stat().st_size for path in app if path.parent.name == "runtime"),
            "application": sum(path.stat().st_size for path in app if path.parent.name != "runtime"),
        },
        "milliseconds": medians,
    }


def _text(values: dict) -> str:
    sizes = [
        [name, f"{size / 1e6:.2f}", f"{SEED[name]:.0f}" if name in SEED else ""]
        for name, size in values["bytes"].items()
    ]
    browser, native = values["milliseconds"]["browser"], values["milliseconds"]["native"]
    times = [
        [step, f"{browser[step]:.2f}", f"{native[step]:.2f}", f"{browser[step] / native[step]:.2f}"] for step in STEPS
    ]
    about = (
        f"Medians of {values['photos']} photos in {values['rounds']} rounds on {values['processor']}, one thread each; "
        f"a decision is over up to {SET} photos."
    )
    return "\n".join(
        [
            tabulate(sizes, ["part", "MB", "MB of the seed"], disable_numparse=True),
            "",
            tabulate(times, ["step", "ms in the browser", "ms natively", "ratio"], disable_numparse=True),
            "",
            about,
        ]
    )
