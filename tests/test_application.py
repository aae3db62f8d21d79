"""The application's folder: where its runtime comes from, what its service worker keeps, and how it is served."""

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from pipeline.core.errors import StageError
from pipeline.export import application, runtime
from pipeline.export.serve import open_server
from pipeline.export.single import in_order

SCRIPTS = sorted(application.SOURCE.glob("*.js"))


@pytest.fixture
def some_runtime(tmp_path, monkeypatch) -> Path:
    """Two files that pass for the runtime's."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    digests = {}
    for name in runtime.FILES:
        (folder / name).write_bytes(name.encode())
        digests[name] = application.hashlib.sha256(name.encode()).hexdigest()
    monkeypatch.setattr(runtime, "FILES", digests)
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    """What an exported folder has that the application asks for."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in application.MODEL:
        (folder / name).write_bytes(name.encode())
    return folder


def worker(folder: Path) -> tuple[str, list[str]]:
    """The version and the files of a folder's service worker."""
    text = (folder / "app/sw.js").read_text()
    return re.search(r'VERSION = "(\w+)"', text)[1], json.loads(re.search(r"FILES = (\[.*\])", text)[1])


def test_the_service_worker_keeps_every_file(model, some_runtime):
    application.write_app(model, runtime=some_runtime, single=False)
    _, kept = worker(model)
    there = {path.relative_to(model / "app").as_posix() for path in (model / "app").rglob("*") if path.is_file()}
    assert set(kept) == (there - {"sw.js"}) | {"../config.json", "../backbone.onnx", "../head.onnx"}


@pytest.mark.parametrize("changed", ["head.onnx", "config.json", "app/app.css", "app/runtime/ort.wasm.bundle.min.mjs"])
def test_a_change_of_any_file_is_another_version(model, some_runtime, changed):
    application.write_app(model, runtime=some_runtime, single=False)
    before, _ = worker(model)
    shutil.copyfile(application.SOURCE / "sw.js", model / "app/sw.js")
    application.version(model)
    assert worker(model)[0] == before
    (model / changed).write_bytes((model / changed).read_bytes() + b" ")
    shutil.copyfile(application.SOURCE / "sw.js", model / "app/sw.js")
    application.version(model)
    assert worker(model)[0] != before


def test_a_runtime_that_is_another_or_not_there_is_refused_with_a_way_out(tmp_path, some_runtime):
    first, second = runtime.FILES
    (some_runtime / second).write_bytes(b"another")
    with pytest.raises(StageError, match=rf"{second} is not that of onnxruntime-web .*--runtime"):
        runtime.write_runtime(tmp_path / "to", some_runtime)
    (some_runtime / first).unlink()
    with pytest.raises(StageError, match=rf"{first} is missing: unpack .*--runtime"):
        runtime.write_runtime(tmp_path / "to2", some_runtime)


def test_without_npm_or_with_one_that_fails_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime.shutil, "which", lambda _: None)
    with pytest.raises(StageError, match="needs the npm client") as raised:
        runtime.write_runtime(tmp_path / "one", None)
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(runtime.shutil, "which", lambda _: "npm")

    def fail(*_, **__):
        raise subprocess.CalledProcessError(1, "npm", stderr=b"no network\nat all")

    monkeypatch.setattr(runtime.subprocess, "run", fail)
    with pytest.raises(StageError, match=r"npm did not bring \S+ \S+ \(no network\): try again, or") as raised:
        runtime.write_runtime(tmp_path / "two", None)
    assert "\n" not in str(raised.value)


def test_a_folder_without_an_application_and_a_port_that_is_taken_are_refused(model, some_runtime):
    with pytest.raises(StageError, match=r"visagg export BACKBONE HEAD --to \S+ --app makes it"):
        open_server(model, 0)
    application.write_app(model, runtime=some_runtime, single=False)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StageError, match=rf"port {port} cannot be used \(another program has it\)"):
            open_server(model, port)


def test_modules_come_behind_those_that_they_import():
    order = in_order(application.SOURCE)
    assert set(order) == {path.name for path in SCRIPTS} - {"sw.js", "worker.js"}
    for name in order:
        text = (application.SOURCE / name).read_text()
        for imported in re.findall(r'from "\./(.+?)"', text):
            assert order.index(imported) < order.index(name)


def test_nothing_of_the_application_names_another_place():
    for path in application.SOURCE.rglob("*"):
        if path.suffix in (".js", ".html", ".css", ".svg", ".webmanifest"):
            addresses = re.findall(r"https?://[^\s\"')]+", path.read_text())
            assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path.name
            assert len(path.read_text().splitlines()) <= 300
