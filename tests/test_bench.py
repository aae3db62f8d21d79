"""The comparison with other ways to embed: contenders embed the same photos in turns, and what is said adds up."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest

from pipeline.bench import embedding, memory, photos, values
from pipeline.bench.child import start
from pipeline.bench.exported import Turns, bench_exported
from pipeline.bench.job import RANDOM, PhotoSample
from pipeline.bench.values import ContenderRun, contender_values
from pipeline.catalogue.images import Images
from pipeline.core.errors import StageError, WeightsError
from pipeline.core.progress import Notes
from tests.support.backbones import SMALL
from tests.support.contenders import Hubless, Numbers, job_of
from tests.support.images import jpeg
from tests.support.program import call
from tests.support.settings import ROOT, write_settings

CLASSES = ("hat", "shoes")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def folder(tmp_path):
    """Two classes of twelve photos and, in the second, a copy from the first and a broken one."""
    for number in range(24):
        path = tmp_path / "photos" / CLASSES[number % 2] / "deeper" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, 100 + 7 * number, 250 - 5 * number))
    (tmp_path / "photos/shoes/copy.jpeg").write_bytes(jpeg(0, 100, 250))
    (tmp_path / "photos/shoes/broken.jpg").write_bytes(jpeg(99)[:1500])
    (tmp_path / "photos/LICENSE").write_text("no photo")
    return tmp_path / "photos"


@pytest.mark.parametrize("onnx", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_whole_comparison(project, folder, small_weights, monkeypatch, onnx):
    """A row that slipped past the copy or the broken photo would show as a cosine far from 1."""
    if onnx:
        pytest.importorskip("onnxruntime")
    else:
        monkeypatch.setattr(embedding, "NEEDED_FOR_ONNX", ("no_such_library",))
    monkeypatch.setenv("TMPDIR", str(folder.parent))
    small = {"model": SMALL, "weights": str(small_weights)}
    settings = write_settings(project / "params.yaml", {"backbones.lite0": small, "embed.engine": "torch"})
    words = ["--images", folder, "--backbone", "lite0", "--blocks", "2", "--json", "out/bench.json"]
    result = call(project, *settings, "bench", "embed", *map(str, words))
    assert result.returncode == 0, result.stderr
    assert "1 of 26 photos cannot be decoded" in result.stderr
    assert "1 of 25 photos are copies" in result.stderr and "Traceback" not in result.stderr
    assert not list(folder.parent.glob("visagg-bench-*"))

    said = json.loads((project / "out/bench.json").read_text())
    expected = {"images": 25, "backbone": "lite0", **small, "blocks": 2}
    assert {key: said[key] for key in expected} == expected
    assert set(said["machine"]) == {"processor", "cores", "python", "torch", "timm", "openvino", "onnxruntime"}
    contenders = said["contenders"]
    assert [contender["name"] for contender in contenders] == ["reference", *["onnxruntime"] * onnx, "visagg"]
    for contender in contenders:
        assert contender["cosine"] >= 0.999
        speeds = contender["images_per_second"] / contenders[0]["images_per_second"]
        assert contender["ratio"] == pytest.approx(speeds, rel=0.01)
        assert contender["ratio_low"] <= contender["ratio"] <= contender["ratio_high"]
        assert contender["peak_mb"] > 100 and 0 < contender["probe_accuracy"] <= 100
    assert contenders[0]["ratio_low"] == contenders[0]["ratio_high"] == 1
    assert "eager" in contenders[0]["engine"] and contenders[0]["engine"] != contenders[-1]["engine"]

    heading, *lines = result.stdout.splitlines()
    assert heading.split()[:2] == ["contender", "images/s"] and len({len(line) for line in (heading, *lines)}) == 1
    assert [line.split()[:2] for line in lines] == [
        [contender["name"], f"{contender['images_per_second']:.1f}"] for contender in contenders
    ]


@pytest.fixture
def sample(tmp_path):
    """Five photos, which say ten times their number, but for the last: it is gone."""
    paths = [tmp_path / f"{number}.txt" for number in range(5)]
    for number, path in enumerate(paths[:4]):
        path.write_text(str(10 * number))
    return PhotoSample(paths, [""] * 5, tmp_path / "images.h5", np.arange(5))


def test_a_contender_answers_in_its_process_and_its_failure_is_one_line(sample, tmp_path):
    with start(job_of(Numbers, sample, tmp_path)) as child:
        assert child.pid != os.getpid() and child.engine == "counts"
        for numbers in ([0, 3, 1], [2]):
            seconds, vectors = child.embed(np.array(numbers))
            assert seconds == 1.5 and vectors.tolist() == [[number, 10 * number] for number in numbers]
        with pytest.raises(StageError, match=r"bench: Numbers failed: .*FileNotFoundError") as error:
            child.embed(np.arange(5))
    assert "\n" not in str(error.value)
    assert not psutil.pid_exists(child.pid)


def test_a_contender_that_dies_is_one_line(sample, tmp_path):
    with start(job_of(Numbers, sample, tmp_path)) as child:
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(StageError, match="bench: Numbers died with status -9"):
            child.embed(np.arange(2))


def test_without_a_hub_weights_are_random_from_the_first_contender_on(sample, tmp_path, monkeypatch):
    code = f"{Hubless.__module__}:Hubless"
    monkeypatch.setattr(embedding, "CONTENDERS", {"reference": code, "onnxruntime": code, "visagg": code})
    monkeypatch.setattr(embedding, "NEEDED_FOR_ONNX", ("torch", "no_such_library"))
    with ExitStack() as stack:
        children, weights = embedding.start_all(job_of(Hubless, sample, tmp_path), stack, notes := Notes())
        engines = {name: child.engine for name, child in children.items()}
    assert weights == RANDOM
    assert engines == {name: f"{name} with random weights" for name in ("reference", "visagg")}
    assert notes.lines[0].startswith("bench: onnxruntime is left out, for want of no_such_library: pip install")
    assert notes.lines[1] == (
        "bench: random weights, on which speed does not depend: the model hub did not give a model"
    )
    with ExitStack() as stack, pytest.raises(WeightsError):
        embedding.start_all(job_of(Hubless, sample, tmp_path, weights="w.pth"), stack, Notes())


def made_run(*seconds):
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    return ContenderRun("", 1.0, list(seconds), [vectors[:5], vectors[5:]])


def test_values_are_of_all_images_and_ratios_of_blocks():
    reference, fast, turned = made_run(1.0, 3.0), made_run(0.25, 1.5), made_run(1.0, 3.0)
    of_fast = contender_values("fast", fast, reference, classes=["a", "b"] * 6)
    assert of_fast["images_per_second"] == round(12 / 1.75, 2)
    assert (of_fast["ratio"], of_fast["ratio_low"], of_fast["ratio_high"]) == (round(4 / 1.75, 4), 2.0, 4.0)
    turned.vectors[1] = -turned.vectors[1]
    of_turned = contender_values("turned", turned, reference, classes=None)
    assert of_turned["cosine"] == -1 and of_turned["probe_accuracy"] is None


class Fake:
    """A contender that takes a second for each photo; it notes what it was asked."""

    engine, start_seconds, pid = "fake", 1.0, os.getpid()

    def __init__(self, name, asked):
        self._name, self._asked = name, asked

    def embed(self, numbers):
        self._asked.append((self._name, numbers.tolist()))
        return float(len(numbers)), numbers[:, None].astype(np.float32)


def test_contenders_take_turns_at_each_block_in_a_rotating_order():
    asked = []
    blocks = np.array_split(np.arange(10), 3)
    runs = embedding.take_turns({name: Fake(name, asked) for name in "abc"}, blocks, Notes())
    warm_up, turns, watched = asked[:3], asked[3:-3], asked[-3:]
    assert warm_up == [(name, list(range(10))) for name in "abc"]
    assert turns == [(name, block.tolist()) for block, names in zip(blocks, ("abc", "bca", "cab")) for name in names]
    assert watched == [(name, blocks[0].tolist()) for name in "abc"]
    for run in runs.values():
        assert run.seconds == [4, 3, 3] and np.concatenate(run.vectors)[:, 0].tolist() == list(range(10))
        assert run.peak > 0


@pytest.mark.parametrize("classes", [["a"] * 12, ["a"] * 8 + ["b"] * 4])
def test_too_few_photos_of_a_class_give_no_probe(classes):
    assert values.probe_accuracy(np.random.default_rng(0).normal(size=(12, 4)), classes) is None


def test_the_probe_tells_classes_that_differ():
    vectors = np.random.default_rng(0).normal(size=(40, 8)) + 9 * (np.arange(40) % 2)[:, None]
    assert values.probe_accuracy(vectors, ["ab"[i % 2] for i in range(40)]) == 100


def test_few_photos_are_spread_over_the_classes_and_lie_in_the_bank(tmp_path, folder):
    (folder / "shoes/broken.jpg").unlink()
    for number in range(30):
        (folder / CLASSES[0] / f"more{number}.jpg").write_bytes(jpeg(100 + number))
    few, again = (photos.gather(folder, 10, tmp_path / "few.h5", console=Notes()) for _ in range(2))
    assert sorted(few.classes) == [CLASSES[0]] * 5 + [CLASSES[1]] * 5 and few.paths == again.paths
    every = photos.gather(folder, None, tmp_path / "all.h5", console=Notes())
    bank = Images(every.bank)
    assert len(every) == 55 and len(bank) == 54
    assert all(bank.read(row) == path.read_bytes() for row, path in zip(every.rows, every.paths))
    assert every.classes != sorted(every.classes)


def test_no_photos_are_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(StageError, match="holds no photos"):
        photos.gather(tmp_path, None, tmp_path / "images.h5", console=Notes())
    (tmp_path / "a.jpg").write_text("no photo either")
    with pytest.raises(StageError, match="not one photo can be decoded"):
        photos.gather(tmp_path, None, tmp_path / "images.h5", console=Notes())


def test_the_memory_of_a_child_s_child_counts():
    """It holds its memory until it is told that it was seen."""
    held = "x = b'x' * 200_000_000; print('held', flush=True); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}])"
    words = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **words) as process:
        assert process.stdout.readline() == "held\n"
        assert 200e6 < memory.family_size(psutil.Process(process.pid)) < 300e6


def test_a_peak_is_the_most_of_what_was_seen_whoever_ended_meanwhile(monkeypatch):
    looks = iter([30, psutil.NoSuchProcess(1), 70, 50])
    looked = []

    def family_size(process):
        looked.append(look := next(looks, 50))
        if isinstance(look, Exception):
            raise look
        return look

    monkeypatch.setattr(memory, "family_size", family_size)
    monkeypatch.setattr(memory, "INTERVAL", 0.001)
    with memory.watch(os.getpid()) as peak:
        while len(looked) < 5:
            time.sleep(0.001)
    assert peak.size == 70


# The program as it is, but that its contenders are never ready.
BUSY = """
import sys
from pipeline.cli import main as cli
from pipeline.bench import embedding
embedding.CONTENDERS = {"reference": "tests.support.contenders:Busy"}
cli.main()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_busy_contender_ends_with_a_program_that_is_stopped_or_killed(project, folder, how):
    """Ctrl-C leaves one line and no files."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, "bench", "embed", "--images", str(folder), "--backbone", "lite0"],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "TMPDIR": str(folder.parent)},
    )
    while not list(folder.parent.glob("visagg-bench-*/begun")):
        time.sleep(0.01)
    children = psutil.Process(process.pid).children()
    process.send_signal(how)
    errors = process.communicate(timeout=300)[1].strip().splitlines()
    assert len(children) == 1 and not psutil.wait_procs(children, timeout=300)[1]
    if how == signal.SIGINT:
        assert process.returncode == 130 and errors[-1].startswith("visagg: stopped; ")
        assert not list(folder.parent.glob("visagg-bench-*"))


def test_an_exported_model_is_measured_in_a_browser_and_natively(exported_app, tmp_path):
    for seed in range(3):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed, 80, 60))
    (tmp_path / "notes.txt").write_text("no photo")
    said = bench_exported(exported_app, tmp_path, turns=Turns(photos=4, rounds=2), json_path=tmp_path / "out.json")
    values = json.loads((tmp_path / "out.json").read_text())
    assert values["bytes"]["head"] == (exported_app / "head.onnx").stat().st_size
    for runtime in ("browser", "native"):
        assert all(milliseconds >= 0 for milliseconds in values["milliseconds"][runtime].values())
        assert values["milliseconds"][runtime]["backbone"] > 0
    assert "ms in the browser" in said


def test_a_folder_without_an_application_is_not_measured(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(1, 8, 8))
    with pytest.raises(StageError, match=r"config.json is missing"):
        bench_exported(tmp_path, tmp_path, turns=Turns(1, 1))
