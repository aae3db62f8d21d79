"""What several test files need: real photos where they are at hand, small images, and a place to run the program."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; run by hand with -m long")


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of class folders of real photos: $VISAGG_PHOTOS, or shared/data/clothing beside the checkout."""
    folder = Path(os.environ.get("VISAGG_PHOTOS", ROOT.parent / "shared/data/clothing"))
    if not folder.is_dir():
        pytest.skip("no real photos here: set VISAGG_PHOTOS to a folder of class folders of .jpg")
    return folder


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
