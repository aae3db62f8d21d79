"""Fixtures of several test files: real photos where they are at hand, weights, and a place to run the program."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from tests.support.backbones import SMALL
from tests.support.settings import ROOT

if TYPE_CHECKING:
    from tests.support.carried import Carried


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; run by hand with -m long")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests begin first, so that no process waits for them at the end."""
    items.sort(key=lambda item: item.path.name not in ("test_pipeline.py", "test_bench.py"))


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

    from pipeline.embed.backbones.models import import_timm

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
def copied_project(tmp_path: Path) -> Path:
    """As `project`, with a copy of the package, so that its settings can be changed under DVC's eyes."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch with one thread: on a busy machine it multiplies small matrices several times faster than with many."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Carried"]:
    """A small project with trained heads; its backbones have two layers."""
    from tests.support.carried import build, opened

    with patch("pipeline.export.predict.trained.open_backbone", opened):
        yield build(tmp_path_factory.mktemp("carried"))


@pytest.fixture(scope="session")
def exported_app(carried: "Carried", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of that project, exported with its application."""
    from tests.support.app import make_folder

    return make_folder(carried, tmp_path_factory.mktemp("app"))
