"""Swaps of a world's backbones, and worlds that borrow each other's heads."""

import json
import shutil

import polars as pl

from pipeline.embeddings.store import Embeddings
from pipeline.swap import adapters
from pipeline.swap.adapters import Adapter
from pipeline.swap.pairs import Stores
from pipeline.swap.stage import swap
from tests.support.records import rewrite
from tests.support.world import FINGERPRINTS, World


def swapped(world: World, new: str = "new", old: str = "old") -> dict:
    """Swaps; returns what is saved of it."""
    swap(world.project, [(old, new)], world.settings)
    return saved(world, new, old)


def saved(world: World, new: str = "new", old: str = "old") -> dict:
    """What is saved of a swap."""
    return json.loads(world.project.swap(old, new).read_text())


def the_adapter(world: World) -> Adapter:
    """The one that was saved."""
    path, digest = world.project.adapter("old", "new"), world.labelled().digest
    return adapters.load(path, FINGERPRINTS["new"], FINGERPRINTS["old"], sets_digest=digest)


def best_row(content: dict, head: str) -> dict:
    """What a head keeps with the chosen adapter, from all pairs."""
    chosen = (content["best"], content["training_images"])
    [row] = [row for row in content["heads"][head]["adapted"] if (row["adapter"], row["pairs"]) == chosen]
    return row


def lend_heads(world: World, to: World) -> World:
    """Gives a world that has trained nothing the heads of another, as if they had been trained on its sets."""
    shutil.copytree(world.project.root / "cache/heads", to.project.root / "cache/heads")
    _adopt(to)
    return to


def _adopt(world: World) -> None:
    for record in (world.project.root / "cache/heads").glob("*/*/checkpoint.json"):
        rewrite(record, sets_digest=world.labelled().digest)


def stores(world: World) -> Stores:
    """The vectors of old and new."""
    return Stores(Embeddings(world.project.store("old")), Embeddings(world.project.store("new")))


def show(world: World, split: str, images: list[int]) -> None:
    """Makes all sets of a split show the same images; the heads are as if they had been trained on these."""
    shown = pl.when(pl.col("split") == split).then(pl.lit(images, pl.List(pl.UInt32))).otherwise("images")
    world.write_sets(world.sets.with_columns(images=shown))
    _adopt(world)
