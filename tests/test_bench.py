"""The comparison with other ways to embed: every contender embeds the same photos, and what it says adds up."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import pytest

from pipeline import params
from pipeline.backbones import open_random
from pipeline.bench import embedding, figures, memory, photos
from pipeline.bench.child import RANDOM, Job
from pipeline.catalogue import Images
from pipeline.errors import StageError
from pipeline.progress import Notes
from tests.conftest import ROOT, jpeg, small_settings

PROGRAM, BENCH = [sys.executable, "-m", "pipeline"], ["bench", "embed"]
COMMAND = [*PROGRAM, *BENCH]
CLASSES = ("hat", "shoes")
TEXT = (ROOT / "pipeline/params.yaml").read_text()


@pytest.fixture
def folder(tmp_path):
    """Two classes of twelve photos and, in the second, a copy from the first and a broken one."""
    for number in range(24):
        path = tmp_path / "photos" / CLASSES[number % 2] / "deeper" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, 200 + 7 * number, 400 - 5 * number))
    (tmp_path / "photos/shoes/copy.jpeg").write_bytes(jpeg(0, 200, 400))
    (tmp_path / "photos/shoes/broken.jpg").write_bytes(jpeg(99)[:1500])
    (tmp_path / "photos/LICENSE").write_text("no photo")
    return tmp_path / "photos"


def test_the_whole_comparison(project, folder, small_weights):
    """A row that slipped past the copy or the broken photo would show as a cosine far from 1."""
    with_onnx = all(map(importlib.util.find_spec, embedding.NEEDED_FOR_ONNX))
    settings = small_settings(project, small_weights)
    words = ["--images", folder, "--backbone", "lite0", "--blocks", "2", "--json", "out/bench.json"]
    result = subprocess.run(
        [*PROGRAM, *settings, *BENCH, *map(str, words)],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder.parent)},
    )
    assert result.returncode == 0, result.stderr
    assert "1 of 26 photos cannot be decoded" in result.stderr
    assert "1 of 25 photos are copies" in result.stderr and "Traceback" not in result.stderr
    assert not list(folder.parent.glob("visagg-bench-*"))

    found = json.loads((project / "out/bench.json").read_text())
    backbone = params.load(project / settings[-1]).backbone("lite0")
    expected = {"images": 25, "backbone": "lite0", "model": backbone.model, "weights": backbone.weights, "blocks": 2}
    assert {key: found[key] for key in expected} == expected
    assert set(found["machine"]) == {"processor", "cores", "python", "torch", "timm", "openvino", "onnxruntime"}
    contenders = found["contenders"]
    assert [contender["name"] for contender in contenders] == ["reference", *["onnxruntime"] * with_onnx, "visagg"]
    for contender in contenders:
        assert contender["cosine"] >= 0.999
        speeds = contender["images_per_second"] / contenders[0]["images_per_second"]
        assert contender["ratio"] == pytest.approx(speeds, rel=0.01)
        assert contender["ratio_low"] <= contender["ratio"] <= contender["ratio_high"]
        assert contender["peak_mb"] > 100 and contender["start_seconds"] > 0.5
        assert 0 < contender["probe_accuracy"] <= 100
    assert contenders[0]["ratio_low"] == contenders[0]["ratio_high"] == 1
    assert "eager" in contenders[0]["engine"] and contenders[0]["engine"] != contenders[-1]["engine"]

    heading, *lines = result.stdout.splitlines()
    assert heading.split()[:2] == ["contender", "images/s"] and len({len(line) for line in (heading, *lines)}) == 1
    assert [line.split()[:2] for line in lines] == [
        [contender["name"], f"{contender['images_per_second']:.1f}"] for contender in contenders
    ]


@pytest.fixture
def small(tmp_path):
    """Settings with one more backbone: a small one, from the hub."""
    text = TEXT.replace("backbones:\n  lite0:", "backbones:\n  small: {model: mobilenetv3_small_050.lamb_in1k, "
                        "weights: hub}\n  lite0:")  # fmt: skip
    (tmp_path / "params.yaml").write_text(text)
    return params.load(tmp_path / "params.yaml")


def test_without_a_hub_weights_are_random_and_a_failure_is_one_line(tmp_path, folder, small, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(embedding, "CONTENDERS", ("reference",))
    monkeypatch.setattr(embedding, "NEEDED_FOR_ONNX", ("torch", "no_such_library"))
    notes = Notes()
    gathered = photos.gather(folder, 8, tmp_path / "images.h5", notes)
    gathered.paths[-1].unlink()
    job = Job("", small.backbone("small").model, "hub", gathered.paths, tmp_path, gathered.rows, tmp_path, small.embed)
    with ExitStack() as stack:
        children, weights = embedding._start(job, stack, notes)
        assert weights == RANDOM
        first, second = (children["reference"].embed(np.arange(5))[1] for _ in range(2))
        assert first.shape == (5, 1024) and first.dtype == np.float32 and np.array_equal(first, second)
        with pytest.raises(StageError, match=r"reference failed: .*FileNotFoundError") as error:
            children["reference"].embed(np.arange(len(gathered.paths)))
    assert "\n" not in str(error.value)
    said = "\n".join(notes.lines)
    assert "left out, for want of no_such_library" in said
    assert "bench: random weights, on which speed does not depend: the model hub did not give" in said
    assert figures.figures("", _measured(), _measured(), None)["probe_accuracy"] is None


def _measured():
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    return figures.Measured("", 1.0, [1.0, 3.0], [vectors[:5], vectors[5:]])


def test_random_weights_are_the_same_in_every_process_and_leave_other_draws_alone():
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (open_random("mobilenetv3_small_050", seed).identity["weights"] for seed in (0, 0, 1))
    assert one == again != other
    assert torch.equal(torch.rand(3), expected)


def test_figures_are_of_all_images_and_ratios_of_blocks():
    fast = figures.Measured("", 1.0, [0.25, 1.5], _measured().vectors)
    found = figures.figures("fast", fast, _measured(), ["a", "b"] * 6)
    assert found["images_per_second"] == round(12 / 1.75, 2)
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (round(4 / 1.75, 4), 2.0, 4.0)
    turned = figures.Measured("", 1.0, [1.0, 3.0], [_measured().vectors[0], -_measured().vectors[1]])
    assert figures.figures("turned", turned, _measured(), None)["cosine"] == -1


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
    measured = embedding._take_turns({name: Fake(name, asked) for name in "abc"}, blocks, Notes())
    warm_up, turns, watched = asked[:3], asked[3:-3], asked[-3:]
    assert warm_up == [(name, list(range(10))) for name in "abc"]
    assert turns == [(name, block.tolist()) for block, names in zip(blocks, ("abc", "bca", "cab")) for name in names]
    assert watched == [(name, blocks[0].tolist()) for name in "abc"]
    for run in measured.values():
        assert run.seconds == [4, 3, 3] and np.concatenate(run.vectors)[:, 0].tolist() == list(range(10))


@pytest.mark.parametrize("classes", [["a"] * 12, ["a"] * 8 + ["b"] * 4])
def test_too_few_photos_of_a_class_give_no_probe(classes):
    assert figures.probe_accuracy(np.random.default_rng(0).normal(size=(12, 4)), classes) is None


def test_the_probe_tells_classes_that_differ():
    vectors = np.random.default_rng(0).normal(size=(40, 8)) + 9 * (np.arange(40) % 2)[:, None]
    assert figures.probe_accuracy(vectors, ["ab"[i % 2] for i in range(40)]) == 100


def test_few_photos_are_spread_over_the_classes_and_lie_in_the_bank(tmp_path, folder):
    (folder / "shoes/broken.jpg").unlink()
    for number in range(30):
        (folder / CLASSES[0] / f"more{number}.jpg").write_bytes(jpeg(100 + number))
    few = photos.gather(folder, 10, tmp_path / "few.h5", Notes())
    assert sorted(few.classes) == [CLASSES[0]] * 5 + [CLASSES[1]] * 5
    assert few.paths == photos.gather(folder, 10, tmp_path / "few.h5", Notes()).paths
    every = photos.gather(folder, None, tmp_path / "all.h5", Notes())
    bank = Images(tmp_path / "all.h5")
    assert len(every.paths) == 55 and len(bank) == 54
    assert all(bank.read(row) == path.read_bytes() for row, path in zip(every.rows, every.paths))
    assert every.classes != sorted(every.classes)


def test_no_photos_are_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(StageError, match="holds no photos"):
        photos.gather(tmp_path, None, tmp_path / "images.h5", Notes())
    (tmp_path / "a.jpg").write_text("no photo either")
    with pytest.raises(StageError, match="not one photo can be decoded"):
        photos.gather(tmp_path, None, tmp_path / "images.h5", Notes())


def test_a_child_s_memory_counts():
    pytest.importorskip("psutil")
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = b\"x\" * 300_000_000; input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        with memory.watch(process.pid) as peak:
            time.sleep(1.5)
        process.stdin.close()
    assert 300e6 < peak.size < 400e6


def _children_of(process):
    psutil = pytest.importorskip("psutil")
    while not (children := psutil.Process(process.pid).children()):
        time.sleep(0.02)
    return children


def _ended(children):
    import psutil

    return not psutil.wait_procs(children, timeout=10)[1]


def test_ctrl_c_ends_the_contenders_and_leaves_nothing(project, folder):
    process = subprocess.Popen(
        [*COMMAND, "--images", str(folder), "--backbone", "lite0"],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder.parent)},
    )
    children = _children_of(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors
    assert _ended(children) and not list(folder.parent.glob("visagg-bench-*"))


BUSY = """
import time
from contextlib import ExitStack
from pipeline.bench.child import Job, start

class Slow:
    def __reduce__(self):
        return time.sleep, (120,)  # in whoever reads it

with start(Job("reference", Slow(), *[None] * 6)):
    pass
"""


def test_a_busy_contender_ends_with_a_program_that_is_killed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", BUSY], env={**os.environ, "PYTHONPATH": str(ROOT)})
    children = _children_of(process)
    time.sleep(1)
    process.kill()
    process.wait()
    assert _ended(children)
