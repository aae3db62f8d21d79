"""The runtimes: a vector is its image's alone, every engine gives the same, bfloat16 is used where it does no harm."""

import io
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import Pipe

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.vectors import cosines
from pipeline.embed.backbones.backbone import Backbone, open_random
from pipeline.embed.engines.choose import RUNTIMES, open_engine
from pipeline.embed.engines.engine import Normalised
from pipeline.embed.engines.torch_runtime import TorchRuntime
from tests.support.backbones import SMALL, tiny
from tests.support.extraction import processes
from tests.support.images import jpeg

BATCH = 4


@pytest.fixture(scope="module")
def mobilenet():
    """A backbone with every kind of layer, for smaller images: half the side is a quarter of the time."""
    backbone = open_random(SMALL)
    preprocessing = {**backbone.fingerprint["preprocessing"], "size": 112}
    return Backbone({**backbone.fingerprint, "preprocessing": preprocessing}, backbone.parameters, backbone.load)


def photos(size: int) -> np.ndarray:
    """Six images as photos are: uint8 [6, size, size, 3]."""
    return np.stack([np.asarray(Image.open(io.BytesIO(jpeg(seed, size, size)))) for seed in range(6)])


@pytest.fixture(scope="module")
def pixels():
    return photos(112)


@pytest.fixture(scope="module")
def alone(mobilenet, pixels):
    """By the name of a runtime: the vector of each image when it has a batch to itself."""

    @cache
    def vectors(name: str) -> np.ndarray:
        run = open_engine(name, mobilenet, batch_size=BATCH, threads=1)
        return np.concatenate([run(image[None]) for image in pixels])

    return vectors


def exact(backbone, pixels):
    """The vectors of the model itself, in float32, one image at a time."""
    model = Normalised(backbone.model, backbone.preprocessing).eval()
    with torch.inference_mode():
        return np.concatenate([model(torch.from_numpy(image[None])).numpy() for image in pixels])


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_vector_is_its_image_s_alone_and_that_of_the_model(name, mobilenet, pixels, alone):
    """Bit by bit: whatever is beside it, wherever it stands, however many streams there are and threads that call."""
    pytest.importorskip(name)
    assert len(np.unique(alone(name), axis=0)) == 6
    assert cosines(alone(name), exact(mobilenet, pixels)).min() > 0.99999
    run = open_engine(name, mobilenet, batch_size=BATCH, threads=2)
    batches = [[0, 1, 2, 3], [3, 2, 1, 0], [5, 4], [3, 0, 5, 1], [2], [4, 2, 0], [1, 1, 1, 1], [5, 3, 1, 0], [2, 3, 4]]
    with ThreadPoolExecutor(2) as pool:
        vectors = [*pool.map(lambda rows: run(pixels[rows]), batches)]
    assert all(np.array_equal(got, alone(name)[rows]) for got, rows in zip(vectors, batches, strict=True))


def test_engines_agree(alone):
    pytest.importorskip("openvino")
    assert cosines(alone("openvino"), alone("torch")).min() > 0.99999


TINY = tiny(32)


@pytest.fixture(scope="module")
def small():
    """As `pixels`, of 32 x 32 pixels: without such a processor bfloat16 is slow."""
    return photos(32)


class Reduced(TorchRuntime):
    """torch on a processor that has bfloat16, or so it says; and its engines as `spoil` leaves them."""

    def __init__(self, spoil=lambda vectors: vectors):
        self.spoil, self.made = spoil, []

    def bfloat16(self):
        return True

    def make(self, model, size, **options):
        self.made.append(options["precision"])
        engine = super().make(model, size, **options)
        return (
            replace(engine, run=lambda p: self.spoil(engine.run(p))) if options["precision"] == "bfloat16" else engine
        )


def open_auto(sample):
    return open_engine("torch", TINY, batch_size=BATCH, precision="auto", sample=sample)


def test_bfloat16_is_used_where_real_images_come_out_the_same(monkeypatch, small):
    monkeypatch.setitem(RUNTIMES, "torch", reduced := Reduced())
    engine = open_auto(lambda: small)
    assert reduced.made == ["bfloat16"] and engine.precision == "bfloat16"
    vectors = np.concatenate([engine(small[:4]), engine(small[4:])])
    assert engine.cosine == pytest.approx(cosines(vectors, exact(TINY, small)).min(), abs=1e-6)
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
    monkeypatch.setitem(RUNTIMES, "torch", reduced := Reduced(spoil))
    engine = open_auto(lambda: small)
    assert reduced.made == ["bfloat16", "float32"] and engine.precision == "float32"
    said = rf"{engine.name} float32 \(bfloat16 to float32: smallest cosine {cosine}, which is too far\)"
    assert re.fullmatch(said, str(engine))
    monkeypatch.setitem(RUNTIMES, "torch", TorchRuntime())
    assert np.array_equal(engine(small[:4]), open_engine("torch", TINY, batch_size=BATCH)(small[:4]))


def test_without_a_readable_image_to_compare_on_it_is_float32(monkeypatch, small):
    monkeypatch.setitem(RUNTIMES, "torch", reduced := Reduced())
    engine = open_auto(lambda: small[:0])
    assert reduced.made == ["float32"] and str(engine) == f"{engine.name} float32"


def test_no_image_is_looked_at_where_float32_is_asked_for_or_all_there_is(monkeypatch):
    monkeypatch.setitem(RUNTIMES, "torch", reduced := Reduced())
    monkeypatch.setattr(TorchRuntime, "bfloat16", lambda self: False)
    monkeypatch.setitem(RUNTIMES, "plain", TorchRuntime())
    for name, precision in (("torch", "float32"), ("plain", "auto")):
        engine = open_engine(name, TINY, batch_size=BATCH, precision=precision, sample=lambda: 1 / 0)
        assert str(engine) == f"{engine.name} float32"
    assert reduced.made == ["float32"]


@pytest.mark.parametrize(("cuda", "installed"), [(True, True), (True, False), (False, True), (False, False)])
def test_auto_is_torch_with_cuda_else_openvino_where_it_is_installed(monkeypatch, cuda, installed):
    class Fake:
        def make(self, *_, **__):
            return self

    for name in RUNTIMES:
        monkeypatch.setitem(RUNTIMES, name, Fake())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    assert open_engine("auto", TINY) is RUNTIMES["openvino" if installed and not cuda else "torch"]


def let_the_engine_go_then_handle_a_signal(connection):
    def last_use(engines):
        engine = engines.pop()
        engine(np.zeros((2, 32, 32, 3), np.uint8))

    engines = [open_engine("openvino", tiny(32), batch_size=2, threads=1)]
    thread = threading.Thread(target=last_use, args=(engines,))
    thread.start()
    thread.join()
    signal.signal(signal.SIGCHLD, lambda *_: connection.send("handled"))
    os.kill(os.getpid(), signal.SIGCHLD)


def test_a_signal_after_the_last_engine_is_gone_does_no_harm():
    """In another process; the engine goes in the thread that used it last, as it does after an extraction."""
    pytest.importorskip("openvino")
    receiver, sender = Pipe(duplex=False)
    process = processes().Process(target=let_the_engine_go_then_handle_a_signal, args=(sender,))
    process.start()
    sender.close()
    assert receiver.recv() == "handled"
    process.join()
    assert process.exitcode == 0
