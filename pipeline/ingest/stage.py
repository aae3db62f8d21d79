"""A source to the catalogue: every image checked, every identifier made sure of, every refusal noted."""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl

from pipeline import images
from pipeline.catalogue import tables
from pipeline.catalogue.images import ImageWriter, write_images
from pipeline.core import provenance
from pipeline.core.errors import SourceError, Unusable
from pipeline.core.failure import BEGINS_ANEW, keeping
from pipeline.core.files import write_aside
from pipeline.core.progress import Progress
from pipeline.ingest.columns import Columns
from pipeline.ingest.raw import RawItem, RawPurchase, Reject, Source
from pipeline.ingest.readers import open_source
from pipeline.ingest.tally import Tally
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

WINDOW = 64  # items whose images are checked side by side, and held encoded meanwhile
EXAMPLES = 3  # reasons quoted when nothing is left

# Two reasons for what is kept all the same, because half of it is of use.
UNLABELLED = "no category: it can be shown, but gives no label"
UNPICTURED = "no usable image: the item can give a label, but is not shown"


def ingest(project: Project, settings: "Settings") -> str:
    """Reads the source that the settings name, and writes the catalogue.

    Returns:
        How much the catalogue holds, and what was refused or left out and why, for people.

    Raises:
        SourceError: when the source cannot be read, too much of it is faulty, or nothing of it can be used.
    """
    origin = "demo" if settings.source.name == "demo" else settings.source.path
    source = open_source(settings, project.catalogue.parent)
    most = settings.source.most_rejects
    with keeping(BEGINS_ANEW):
        built = build_catalogue(source, origin, project.catalogue, threads=os.cpu_count() or 1, most_rejects=most)
    total = sum(built.rejects.counts.values())
    return "\n".join(
        [
            f"ingest: {built.items:,} items, {built.pictured:,} with an image ({built.images:,} distinct images), "
            f"{built.purchases:,} purchases: {project.catalogue}",
            f"ingest: {total:,} refused or left out{f', see {project.catalogue}/rejects.csv' if total else ''}",
            *built.rejects.summary(),
        ]
    )


@dataclass(frozen=True)
class Built:
    """How much a catalogue holds, and what was refused.

    Attributes:
        items: how many items.
        pictured: how many of them have an image.
        images: how many distinct images.
        purchases: how many purchases.
        rejects: what was refused.
    """

    items: int
    pictured: int
    images: int
    purchases: int
    rejects: Tally


def build_catalogue(source: Source, origin: str, folder: Path, *, threads: int, most_rejects: float = 1.0) -> Built:
    """Writes the catalogue's folder: items, purchases, images.h5, rejects. It appears whole or not at all.

    Args:
        source: the raw data.
        origin: its name in messages.
        folder: where the catalogue goes; an older one is replaced.
        threads: how many images are checked at a time.
        most_rejects: the share of items, images or purchases that may be faulty.

    Returns:
        How much it holds, and what was refused.

    Raises:
        SourceError: when no item has a usable image, no purchase is left, or too much is faulty.
    """
    rejects = Tally()
    with write_aside(folder) as aside, ExitStack() as parts_folder:
        aside.mkdir()
        parts = Path(parts_folder.enter_context(TemporaryDirectory(prefix="parts", dir=aside)))
        with write_images(aside / "images.h5") as writer, ThreadPoolExecutor(threads) as pool:
            items = _items(_checked(source.items(), writer, pool), writer, rejects, parts=parts)
        without = rejects.counts["image", tables.NO_IMAGE]
        seen = {"item": items.seen, "image": len(items.images) - without}
        rejects.require_few(origin, seen, most=most_rejects)
        pictured = sum(row is not None for row in items.images.values())
        _require(pictured, f"{origin}: no item has a usable image", rejects)
        purchases, bought = _purchases(source, items.images, rejects, parts=parts)
        rejects.require_few(origin, {"purchase": bought}, most=most_rejects)
        _require(len(purchases), f"{origin}: no purchase is left", rejects)
        rows = [(reject.stage, reject.item_id, reject.reason) for reject in rejects.rows]
        rejected = pl.DataFrame(rows, tables.REJECTS, orient="row").sort("stage", "item_id", "reason")
        rejects.frame().write_csv(aside / "rejects.csv")
        written = {"items": items.table.sorted(), "purchases": purchases.sorted(), "rejects": rejected.lazy()}
        tables.write_tables(aside, written, rejects.count_frame())
    distinct = len({row for row in items.images.values() if row is not None})
    return Built(len(items.images), pictured, distinct, len(purchases), rejects)


@dataclass(frozen=True)
class _CheckedItem:
    """An item whose image was looked at.

    Attributes:
        item: as the source has it.
        image: the encoded image; None where there is no usable one.
        digest: of the image; empty where there is none.
        fault: why there is none; empty where there is one.
    """

    item: RawItem
    image: bytes | None
    digest: bytes = b""
    fault: str = ""


def _checked(
    entries: Iterable[RawItem | Reject], writer: ImageWriter, pool: ThreadPoolExecutor
) -> Iterator[_CheckedItem | Reject]:
    """The source's items with their images checked, a window of them side by side, in the source's order."""

    def check(entry: RawItem | Reject) -> _CheckedItem | Reject:
        return entry if isinstance(entry, Reject) else _check(entry, writer)

    entries = iter(entries)
    while window := list(islice(entries, WINDOW)):
        yield from pool.map(check, window)


def _check(item: RawItem, writer: ImageWriter) -> _CheckedItem:
    """Reads an item's image, and decodes it unless the catalogue has the same one already."""
    try:
        if item.image is None:
            raise Unusable(tables.NO_IMAGE)
        image = item.image()
        digest = provenance.digest(image)
        if writer.row(digest) is None:
            images.decode(image)
        return _CheckedItem(item, image, digest)
    except Unusable as error:
        return _CheckedItem(item, None, fault=error.reason)


@dataclass(frozen=True)
class _Items:
    """The items of a source.

    Attributes:
        table: as ITEMS.
        images: the image's row of each item; None where it has none.
        seen: how many rows the source has.
    """

    table: Columns
    images: Mapping[str, int | None]
    seen: int


def _items(entries: Iterable[_CheckedItem | Reject], writer: ImageWriter, rejects: Tally, *, parts: Path) -> _Items:
    """All items whose identifier is theirs alone; those without a usable image have a null."""
    rows, seen = Columns(tables.ITEMS, ("item_id",), parts), 0
    images_of: dict[str, int | None] = {}
    with Progress("ingest", None, "items") as progress:
        for entry in entries:
            progress.add()
            seen += entry.count if isinstance(entry, Reject) else 1
            if isinstance(entry, Reject):
                rejects.add(entry)
                continue
            item = entry.item
            if not item.item_id or item.item_id in images_of:
                reason = "item id occurs twice" if item.item_id else "no item id"
                rejects.add(Reject("item", item.item_id, reason, item.file, item.line))
                continue
            if entry.image is None:
                rejects.add(_unpictured(entry))
            if not any(item.categories):
                rejects.add(Reject("item", item.item_id, UNLABELLED, item.file, item.line, is_fault=False))
            images_of[item.item_id] = row = _row(entry, writer)
            rows.add((item.item_id, row, item.categories, item.title))
    return _Items(rows, images_of, seen)


def _unpictured(entry: _CheckedItem) -> Reject:
    """Why an item has no image; it is no fault where the source never had one."""
    item, is_fault = entry.item, entry.fault != tables.NO_IMAGE
    field = "image" if item.image_name else ""
    return Reject("image", item.item_id, entry.fault, item.file, item.line, field, item.image_name, is_fault=is_fault)


def _row(entry: _CheckedItem, writer: ImageWriter) -> int | None:
    """The row of an item's image, which is written unless it is there; None where the item has none."""
    if entry.image is None:
        return None
    row = writer.row(entry.digest)
    return writer.append(entry.image, entry.digest) if row is None else row


def _purchases(
    source: Source, images_of: Mapping[str, int | None], rejects: Tally, *, parts: Path
) -> tuple[Columns, int]:
    """Purchases of known items, by user and time, of equal times in the source's order; and how many there were."""
    rows, seen = Columns(tables.PURCHASES, ("user_id", "time"), parts), 0
    with Progress("ingest", None, "purchases") as progress:
        for entry in source.purchases():
            progress.add()
            seen += entry.count if isinstance(entry, Reject) else 1
            if isinstance(entry, Reject):
                rejects.add(entry)
                continue
            if fault := _fault(entry, images_of):
                is_fault = fault != UNPICTURED
                rejects.add(Reject("purchase", entry.item_id, fault, entry.file, entry.line, is_fault=is_fault))
            if fault in (None, UNPICTURED):
                rows.add((entry.user_id, entry.item_id, entry.time, entry.source_split))
    return rows, seen


def _fault(purchase: RawPurchase, images_of: Mapping[str, int | None]) -> str | None:
    """Why a purchase cannot be used, or not fully; None for a good one."""
    if not purchase.user_id:
        return "no user id"
    if purchase.item_id not in images_of:
        return "unknown item"
    return UNPICTURED if images_of[purchase.item_id] is None else None


def _require(count: int, message: str, rejects: Tally) -> None:
    """Raises SourceError, with some of the reasons, unless there are rows."""
    if not count:
        reasons = [f"{stage}: {reason}" for stage, reason in islice(rejects.counts, EXAMPLES)]
        total = sum(rejects.counts.values())
        raise SourceError(f"{message} ({total} rejects: {'; '.join(reasons) or 'the source is empty'})")
