"""The application, put into an exported folder: plain files that any web server shows, and no server is needed for."""

import hashlib
import json
import shutil
from pathlib import Path

from pipeline.export.runtime import write_runtime
from pipeline.export.single import write_single

SOURCE = Path(__file__).parent / "app"
FOLDER, WORKER, RUNTIME, SINGLE = "app", "sw.js", "runtime", "single.html"
MODEL = ("config.json", "backbone.onnx", "head.onnx")  # beside the application's folder
READABLE = 0o644


def write_app(folder: Path, *, runtime: Path | None, single: bool) -> None:
    """Writes app/ into an exported folder.

    Args:
        folder: with config.json and the ONNX files.
        runtime: a folder with the browser's runtime; None: the npm client brings it.
        single: whether app/single.html is written too, all in one file.

    Raises:
        StageError: when there is no runtime.
    """
    app = folder / FOLDER
    shutil.copytree(SOURCE, app)
    for path in app.rglob("*"):
        if path.is_file():
            path.chmod(READABLE)
    write_runtime(app / RUNTIME, runtime)
    version(folder)
    if single:
        write_single(app / SINGLE, folder)


def version(folder: Path) -> None:
    """Tells the service worker which files it keeps, and a version that changes with any of them."""
    app = folder / FOLDER
    paths = sorted(path for path in app.rglob("*") if path.is_file() and path.name != WORKER)
    names = [path.relative_to(app).as_posix() for path in paths] + [f"../{name}" for name in MODEL]
    digests = [hashlib.sha256((app / name).read_bytes()).hexdigest() for name in names]
    text = (app / WORKER).read_text(encoding="utf-8")
    version = hashlib.sha256(json.dumps([names, digests, text]).encode()).hexdigest()[:16]
    for before, after in (
        ('const VERSION = "none";', f'const VERSION = "{version}";'),
        ("const FILES = [];", f"const FILES = {json.dumps(names)};"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    (app / WORKER).write_text(text, encoding="utf-8")
