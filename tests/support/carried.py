"""A small project with trained heads: photos in, models out."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from pipeline.embed.backbones.backbone import Backbone
from pipeline.embed.stage import embed
from pipeline.evaluation.evaluate import evaluate
from pipeline.ingest.stage import ingest
from pipeline.project import Project
from pipeline.sets.stage import make_sets
from pipeline.settings.settings import Settings
from pipeline.swap.merging import merge
from pipeline.swap.stage import swap
from pipeline.training.stage import train
from tests.support.backbones import tiny
from tests.support.settings import changed, write_settings

HEADS = ("noisy_or", "average_fc")


@dataclass(frozen=True)
class Carried:
    """The project's folder, and what its settings change."""

    root: Path
    changes: dict

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(changed(self.changes))

    @property
    def project(self) -> Project:
        return Project(self.root)


@contextmanager
def inside(folder: Path):
    """The folder in which the program runs."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def opened(model: str, *_: object) -> Backbone:
    """In the place of `open_backbone`: two layers, other weights for each model."""
    return tiny(seed=int(model.endswith("1")))


def build(root: Path) -> Carried:
    """Catalogue, sets, two backbones of two layers, two heads, one of them merged with an adapter."""
    changes = {
        "demo.items": 120,
        "demo.users": 200,
        "sets.least_items": 10,
        "compare.heads": [*HEADS],
        "ablation.heads": ["average"],
        "conditions.heads": [],
        "embed.engine": "torch",
        "embed.precision": "float32",
        "train.seeds": [0, 1],
        "train.learning_rates": [1e-2],
        "train.cycles": [6],
        "evaluate.ks": [3],
        "evaluate.resamples": 100,
    }
    carried, project = Carried(root, changes), Project()
    settings = carried.settings
    write_settings(root / "pipeline/params.yaml", changes)
    with inside(root), patch("pipeline.embed.stage.open_backbone", opened):
        ingest(project, settings)
        make_sets(project, settings)
        embed(project, settings.backbones_of(["lite0", "lite1"]), settings.embed)
        for head in HEADS:
            train(project, "lite0", head, settings)
        evaluate(project, "lite0", [], settings)
        with patch("pipeline.swap.stage.LEAST_KEPT", -float("inf")):  # two layers know little
            swap(project, [("lite0", "lite1")], settings)
        merge(project, [("lite0", "lite1")], settings)
    return carried
