"""A source to the catalogue: every image checked, every identifier made sure of, every refusal noted."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pipeline import images
from pipeline.catalogue import tables
from pipeline.catalogue.images import ImageWriter, write_images
from pipeline.core import provenance
from pipeline.core.errors import SourceError, Unusable
from pipeline.core.files import write_aside
from pipeline.core.progress import Progress
from pipeline.ingest.raw import RawItem, RawPurchase, Reject, Source
from pipeline.ingest.readers import open_source
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

WINDOW = 64  # items whose images are checked side by side, and held encoded meanwhile
EXAMPLES = 3  # reasons quoted when nothing is left

# Two reasons for what is kept all the same, because half of it is of use.
UNLABELLED = "no category: it can be shown, but gives no label"
UNPICTURED = "no usable image: the item can give a label, but is not shown"
KEPT = (UNLABELLED, UNPICTURED)
SHOWN = 12  # reasons that are said


def ingest(project: Project, settings: "Settings") -> str:
    """Reads the source that the settings name, and writes the catalogue.

    Returns:
        What is in it and what could not be used, for people.

    Raises:
        SourceError: when the source cannot be read, or too little of it can be used.
    """
    origin, threads = "demo" if settings.source.name == "demo" else settings.source.path, os.cpu_count() or 1
    return build_catalogue(
        open_source(settings), origin, project.catalogue, threads=threads, most_rejects=settings.source.most_rejects
    )


def build_catalogue(source: Source, origin: str, folder: Path, *, threads: int, most_rejects: float = 1.0) -> str:
    """Writes the catalogue's folder: items, purchases, images.h5, rejects. It appears whole or not at all.

    Args:
        source: the raw data.
        origin: its name in messages.
        folder: where the catalogue goes; an older one is replaced.
        threads: how many images are checked at a time.
        most_rejects: the share of items, or of purchases, that may be refused.

    Returns:
        What is in it and what could not be used, for people.

    Raises:
        SourceError: when no item has a usable image, no purchase is left, or too many of either were refused.
    """
    rejects: list[Reject] = []
    with write_aside(folder) as aside:
        aside.mkdir()
        with write_images(aside / "images.h5") as writer, ThreadPoolExecutor(threads) as pool:
            items = _items(_checked(source.items(), writer, pool), writer, rejects)
        _require(items["image"].drop_nulls(), f"{origin}: no item has a usable image", rejects)
        purchases = _purchases(source, dict(items.select("item_id", "image").iter_rows()), rejects)
        _require(purchases, f"{origin}: no purchase is left", rejects)
        _require_most(rejects, {"item": len(items), "purchase": len(purchases)}, origin, most=most_rejects)
        rows = [(reject.stage, reject.item_id, reject.reason) for reject in rejects]
        rejected = pl.DataFrame(rows, tables.REJECTS, orient="row").sort("stage", "item_id", "reason")
        tables.write_tables(aside, {"items": items, "purchases": purchases, "rejects": rejected})
    return "\n".join([f"{origin}: {len(items):,} items, {len(purchases):,} purchases", *_reasons(rejects, folder)])


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


def _items(entries: Iterable[_CheckedItem | Reject], writer: ImageWriter, rejects: list[Reject]) -> pl.DataFrame:
    """All items whose identifier is theirs alone, sorted by it; those without a usable image have a null."""
    rows: dict[str, tuple] = {}
    with Progress("ingest", None, "items") as progress:
        for entry in entries:
            progress.add()
            if isinstance(entry, Reject):
                rejects.append(entry)
                continue
            item = entry.item
            if not item.item_id or item.item_id in rows:
                rejects.append(Reject("item", item.item_id, "item id occurs twice" if item.item_id else "no item id"))
                continue
            if entry.image is None:
                rejects.append(Reject("image", item.item_id, entry.fault))
            if not any(item.categories):
                rejects.append(Reject("item", item.item_id, UNLABELLED))
            rows[item.item_id] = (item.item_id, _row(entry, writer), item.categories, item.title)
    return pl.DataFrame([rows[item_id] for item_id in sorted(rows)], tables.ITEMS, orient="row")


def _row(entry: _CheckedItem, writer: ImageWriter) -> int | None:
    """The row of an item's image, which is written unless it is there; None where the item has none."""
    if entry.image is None:
        return None
    row = writer.row(entry.digest)
    return writer.append(entry.image, entry.digest) if row is None else row


def _purchases(source: Source, images_of: Mapping[str, int | None], rejects: list[Reject]) -> pl.DataFrame:
    """Purchases of known items, by user and time; of equal times in the source's order."""
    rows = []
    for entry in source.purchases():
        if isinstance(entry, Reject):
            rejects.append(entry)
            continue
        if fault := _fault(entry, images_of):
            rejects.append(Reject("purchase", entry.item_id, fault))
        if fault in (None, UNPICTURED):
            rows.append((entry.user_id, entry.item_id, entry.time, entry.source_split))
    return pl.DataFrame(rows, tables.PURCHASES, orient="row").sort("user_id", "time", maintain_order=True)


def _fault(purchase: RawPurchase, images_of: Mapping[str, int | None]) -> str | None:
    """Why a purchase cannot be used, or not fully; None for a good one."""
    if not purchase.user_id:
        return "no user id"
    if purchase.item_id not in images_of:
        return "unknown item"
    return UNPICTURED if images_of[purchase.item_id] is None else None


def _require(rows: pl.Series | pl.DataFrame, message: str, rejects: list[Reject]) -> None:
    """Raises SourceError, with some of the reasons, unless there are rows."""
    if not len(rows):
        reasons = list(dict.fromkeys(f"{reject.stage}: {reject.reason}" for reject in rejects))[:EXAMPLES]
        raise SourceError(f"{message} ({len(rejects)} rejects: {'; '.join(reasons) or 'the source is empty'})")


def _require_most(rejects: list[Reject], kept: Mapping[str, int], origin: str, *, most: float) -> None:
    """Raises SourceError where more than a share of the items, or of the purchases, were refused; with the reasons."""
    for stage, count in kept.items():
        reasons = Counter(one.reason for one in rejects if one.stage == stage and one.reason not in KEPT)
        refused = reasons.total()
        if refused > most * (refused + count):
            why = "; ".join(f"{reason} ({times:,})" for reason, times in reasons.most_common(EXAMPLES))
            raise SourceError(
                f"{origin}: {refused:,} of {refused + count:,} {stage}s cannot be used: {why}: "
                "mend the source, or raise source.most_rejects"
            )


def _reasons(rejects: list[Reject], folder: Path) -> list[str]:
    """What could not be used, a line a reason, the most frequent first."""
    counts = Counter((reject.stage, reject.reason) for reject in rejects)
    if not counts:
        return []
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"  {times:,} {stage}s: {reason}" for (stage, reason), times in most[:SHOWN]]
    more = [f"  and {len(most) - SHOWN} more reasons"] if len(most) > SHOWN else []
    return [f"could not be used, or not fully (each by name in {folder / 'rejects.parquet'}):", *shown, *more]
