"""Looks after embedding stores: what there is, and whether it is whole."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline.catalogue.images import Images
from pipeline.catalogue.tables import Catalogue
from pipeline.core.errors import PipelineError, StageError, Unusable
from pipeline.core.vectors import cosines
from pipeline.embed.backbones.backbone import Backbone, open_backbone
from pipeline.embeddings.store import DONE, PENDING, UNREADABLE, Embeddings
from pipeline.embeddings.writer import open_for_repair
from pipeline.images import prepare
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.sections import BackboneSettings

MOSTLY = 0.5  # of the rows belong to their images: the store is this catalogue's, and the others are damaged
SAME_COSINE = 0.995  # vectors vary a little with the engine and its precision; another image's are far off

Faults = dict[int, str]  # rows that are not as they should be, and what is wrong with each


@dataclass(frozen=True)
class Check:
    """How stores are checked.

    Attributes:
        sample: how many images are embedded anew and compared.
        seed: of the sample.
        engine: the runtime for that, as in the settings.
        repair: whether faulty rows are made pending, so that the next run embeds them again.
    """

    sample: int = 0
    seed: int = 0
    engine: str = "auto"
    repair: bool = False


def describe_all(project: Project, *, as_json: bool = False) -> str:
    """Every store in a line; or all as JSON."""
    stores = sorted(project.stores.glob("*.h5"))
    if as_json:
        return json.dumps([_counted(describe(store)) for store in stores], indent=2) + "\n"
    return "".join("  ".join(f"{name} {value}" for name, value in describe(store).items()) + "\n" for store in stores)


def _counted(described: dict[str, str]) -> dict[str, str | int]:
    """The same with numbers in place of numbers in words."""
    numbers = ("pixels", "dim", "done", "pending", "unreadable", "bytes")
    whole = {name: value.replace(",", "") for name, value in described.items() if name in numbers}
    return described | {name: int(value) for name, value in whole.items() if value.isdecimal()}


def describe(path: Path) -> dict[str, str]:
    """One store in words: backbone, dimension, rows by status, bytes; or why it cannot be opened."""
    try:
        store = Embeddings(path)
    except PipelineError as error:
        return {"store": path.stem, "fault": str(error)}
    made_by = store.fingerprint  # by this program, but for one that someone else wrote
    preprocessing = made_by.get("preprocessing")
    rows = {
        name: int((store.status == status).sum())
        for name, status in (("done", DONE), ("pending", PENDING), ("unreadable", UNREADABLE))
    }
    return {
        "store": path.stem,
        "model": str(made_by.get("architecture", "unknown")),
        "weights": str(made_by.get("weights", "unknown"))[:12],
        "pixels": str(preprocessing.get("size", "unknown") if isinstance(preprocessing, dict) else "unknown"),
        "dim": str(store.dim),
        **{name: f"{count:,}" for name, count in rows.items()},
        "bytes": f"{path.stat().st_size:,}",
    }


def verify_stores(
    project: Project, backbones: Mapping[str, "BackboneSettings"], check: Check, *, say: Callable[[str], None]
) -> int:
    """Checks the stores of some backbones, by alias, names each faulty row, and says how many there are.

    Returns:
        How many rows are faulty.

    Raises:
        StageError: when a store is of another catalogue.
        StoreError: when a store is missing or damaged as a whole.
    """
    images, count = Images(project.images), 0
    for alias, backbone in backbones.items():
        store = Embeddings(project.store(alias))
        faults = verify(store, images)
        if check.sample:
            opened = open_backbone(backbone.model, backbone.weights)
            faults = verify_sample(store, images, opened, check=check) | faults
        items = _items_of(faults, project.catalogue)
        for row in sorted(faults):
            say(f"{alias} row {row} (items {', '.join(items[row]) or 'unknown'}): {faults[row]}")
        if check.repair and faults:
            with open_for_repair(store.path) as writer:
                writer.reopen(np.array(sorted(faults), np.int64))
        count += len(faults)
    rows = "1 faulty row" if count == 1 else f"{count} faulty rows"
    say(f"{rows}{' made pending: run visagg embed' if check.repair and count else ''}")
    return count


def verify(store: Embeddings, images: Images) -> Faults:
    """Checks that finished rows are as they were written, finite, and of the catalogue's image in their place.

    Raises:
        StageError: when the store is of other images: embedding again carries over what is good.
    """
    if len(images) != len(store) or (same := (store.digests == images.digests).all(1)).mean() < MOSTLY:
        raise StageError(
            f"{store.path} is of another catalogue: run visagg embed {store.path.stem}, "
            "which keeps the vectors of images that are in both"
        )
    faults = {int(row): store.fault(row) for row in store.damaged()}
    return faults | {int(row): "it belongs to another image" for row in np.flatnonzero(~same)}


def verify_sample(store: Embeddings, images: Images, backbone: Backbone, *, check: Check) -> Faults:
    """Embeds some finished rows' images anew and compares: another vector is a fault, whatever its checksum says."""
    from pipeline.embed.engines.choose import open_engine

    rows = np.flatnonzero(store.status == DONE)
    rows = np.sort(np.random.default_rng(check.seed).choice(rows, min(check.sample, len(rows)), replace=False))
    crop, engine = backbone.preprocessing.crop, open_engine(check.engine, backbone, batch_size=1)
    faults: Faults = {}
    for row in map(int, rows):
        try:
            (pixels,) = prepare(images.read(row), [crop])
        except Unusable as error:
            faults[row] = f"cannot be read any more: {error.reason}"
            continue
        old, new = store.peek(row)[None], engine(pixels[None])
        if not np.isfinite(new).all():
            raise StageError(f"{engine} gives no finite vector for row {row}: check with another embed.engine")
        cosine = float(cosines(old, new)[0])
        both_zeros = not old.any() and not new.any()  # they have no direction, and are the same
        if not cosine >= SAME_COSINE and not both_zeros:  # NaN, where the old vector is not finite, is a fault too
            faults[row] = f"embedded anew it is another vector (cosine {cosine:.4f})"
    return faults


def _items_of(rows: Iterable[int], folder: Path) -> dict[int, list[str]]:
    """The items that show the image of each row; none where the catalogue does not know."""
    items: dict[int, list[str]] = {row: [] for row in rows}
    if items:
        shown = Catalogue.open(folder).table("items").read("item_id", "image", where=pl.col("image").is_in(list(items)))
        for item_id, row in shown.iter_rows():
            items[row].append(item_id)
    return items
