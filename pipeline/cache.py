"""Looks after embedding stores: what there is, and whether it is whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import catalogue, embeddings
from pipeline.backbones import Backbone
from pipeline.embeddings import DONE, PENDING, UNREADABLE, Embeddings
from pipeline.errors import PipelineError, StageError, Unusable
from pipeline.images import crop_of, prepare

MOSTLY = 0.5  # of the rows belong to their images: the store is this catalogue's, and the others are damaged
SAME_COSINE = 0.995  # vectors vary a little with the engine and its precision; another image's are far off


@dataclass(frozen=True)
class Fault:
    """A row that is not as it should be.

    Attributes:
        row: in the store, and of the image in images.h5.
        reason: what is wrong.
        item_ids: the items that show the image; empty where the catalogue does not know.
    """

    row: int
    reason: str
    item_ids: list[str]


def describe(path: Path) -> dict[str, str]:
    """One store in words: backbone, width, rows by status, bytes; or why it cannot be opened."""
    try:
        store = Embeddings(path)
    except PipelineError as error:
        return {"store": path.stem, "fault": str(error)}
    rows = {
        name: int((store.status == status).sum())
        for name, status in (("done", DONE), ("pending", PENDING), ("unreadable", UNREADABLE))
    }
    crop = store.identity["preprocessing"]
    return {
        "store": path.stem,
        "model": store.identity["architecture"],
        "weights": store.identity["weights"][:12],
        "pixels": str(crop["size"]),
        "width": str(store.width),
        **{name: f"{count:,}" for name, count in rows.items()},
        "bytes": f"{path.stat().st_size:,}",
    }


def verify(store: Embeddings, images: catalogue.Images, items_path: Path) -> list[Fault]:
    """Checks every finished row against its checksum and against the catalogue's image in that row.

    Raises:
        StageError: when the store is of other images: embedding again carries over what is good.
    """
    if len(images) != len(store) or (own := (store.digests == images.digests).all(1)).mean() < MOSTLY:
        raise StageError(
            f"{store.path} is of another catalogue: run visagg embed {store.path.stem}, "
            "which keeps the vectors of images that are in both"
        )
    faults = {int(row): "its checksum does not agree" for row in store.damaged()}
    faults |= {int(row): "it belongs to another image" for row in np.flatnonzero(~own)}
    return _name(faults, items_path)


def verify_sample(
    store: Embeddings,
    images: catalogue.Images,
    items_path: Path,
    backbone: Backbone,
    engine: str,
    count: int,
    seed: int,
) -> list[Fault]:
    """Embeds some finished rows' images anew and compares: another vector is a fault, whatever its checksum says."""
    rows = np.flatnonzero(store.status == DONE)
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))
    faults = {}
    for row, fresh in _embedded(rows, images, backbone, engine):
        if isinstance(fresh, str):
            faults[row] = f"cannot be read any more: {fresh}"
        elif (cosine := _cosine(store.peek(row), fresh)) < SAME_COSINE:
            faults[row] = f"embedded anew it is another vector (cosine {cosine:.4f})"
    return _name(faults, items_path)


def repair(path: Path, faults: list[Fault]) -> None:
    """Makes faulty rows pending, so that the next run embeds them again."""
    with embeddings.open_for_repair(path) as writer:
        writer.reopen(np.array(sorted(fault.row for fault in faults), np.int64))


def _embedded(
    rows: np.ndarray, images: catalogue.Images, backbone: Backbone, engine: str
) -> Iterator[tuple[int, np.ndarray | str]]:
    """Each row with its vector, float32 [d], or the reason why there is none."""
    from pipeline.engines import open_engine

    asked = backbone.preprocessing
    crop = crop_of(asked.size, asked.crop_pct, asked.interpolation)
    run = open_engine(engine, backbone, batch_size=1)
    for row in map(int, rows):
        try:
            yield row, run(prepare(images.read(row), [crop])[0][None])[0]
        except Unusable as error:
            yield row, error.reason


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _name(faults: dict[int, str], items_path: Path) -> list[Fault]:
    """Faults in the order of their rows, with the items that show each image."""
    if not faults:
        return []
    owners: dict[int, list[str]] = {}
    for item_id, row in catalogue.read_table(items_path).select("item_id", "image").iter_rows():
        owners.setdefault(row, []).append(item_id)
    return [Fault(row, faults[row], owners.get(row, [])) for row in sorted(faults)]
