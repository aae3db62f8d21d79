"""A source to the catalogue: every image checked, every identifier made sure of, every refusal noted."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import polars as pl

from pipeline import catalogue, images, provenance
from pipeline.errors import SourceError, Unusable
from pipeline.files import write_aside
from pipeline.progress import Progress
from pipeline.sources.raw import RawItem, RawPurchase, Reject, Source

WINDOW = 64  # images held encoded while they are checked
EXAMPLES = 3  # reasons quoted when nothing is left

# Two reasons for what is kept all the same, because half of it is of use.
UNLABELLED = "no category: it can be shown, but gives no label"
UNPICTURED = "no usable image: the item can give a label, but is not shown"


def ingest(source: Source, origin: str, folder: Path, threads: int) -> None:
    """Writes the catalogue's folder: items, purchases, images.h5, rejects. It appears whole or not at all.

    Args:
        source: the raw data.
        origin: its name in messages.
        folder: where the catalogue goes; an older one is replaced.
        threads: how many images are checked at a time.

    Raises:
        SourceError: when no item has a usable image, or no purchase is left.
    """
    rejects: list[Reject] = []
    with write_aside(folder) as aside:
        aside.mkdir()
        with catalogue.write_images(aside / "images.h5") as writer:
            items = _items(source, writer, rejects, threads)
        _require(items["image"].drop_nulls(), f"{origin}: no item has a usable image", rejects)
        purchases = _purchases(source, dict(items.select("item_id", "image").iter_rows()), rejects)
        _require(purchases, f"{origin}: no purchase is left", rejects)
        catalogue.write_table(aside / "items.parquet", items)
        catalogue.write_table(aside / "purchases.parquet", purchases)
        frame = pl.DataFrame([(r.stage, r.item_id, r.reason) for r in rejects], catalogue.REJECTS, orient="row")
        catalogue.write_table(aside / "rejects.parquet", frame.sort("stage", "item_id", "reason"))


def _items(source: Source, writer: catalogue.ImageWriter, rejects: list[Reject], threads: int) -> pl.DataFrame:
    """All items with an identifier of their own, sorted by it; those without a usable image have a null."""
    rows: dict[str, tuple] = {}
    with ThreadPoolExecutor(threads) as pool, Progress("ingest", None, "items") as progress:
        for item, image, reason in _checked(source.items(), rejects, writer, pool):
            progress.add()
            if not item.item_id or item.item_id in rows:
                reason = "item id occurs twice" if item.item_id else "no item id"
                rejects.append(Reject("item", item.item_id, reason))
                continue
            if image is None:
                rejects.append(Reject("image", item.item_id, reason))
            if not any(item.categories):
                rejects.append(Reject("item", item.item_id, UNLABELLED))
            row = _place(writer, *image) if image else None
            rows[item.item_id] = (item.item_id, row, item.categories, item.title)
    return pl.DataFrame([rows[key] for key in sorted(rows)], catalogue.ITEMS, orient="row")


def _checked(
    entries: Iterable[RawItem | Reject], rejects: list[Reject], writer: catalogue.ImageWriter, pool: ThreadPoolExecutor
) -> Iterator[tuple[RawItem, tuple[bytes, bytes] | None, str]]:
    """Each item with its image and the image's digest, or None and the reason; images are checked side by side."""

    def check(item: RawItem) -> tuple[tuple[bytes, bytes] | None, str]:
        try:
            if item.image is None:
                raise Unusable(catalogue.NO_IMAGE)
            data = item.image()
            digest = provenance.digest(data)
            if writer.row(digest) is None:
                images.decode(data)
            return (data, digest), ""
        except Unusable as error:
            return None, error.reason

    entries = iter(entries)
    while window := list(islice(entries, WINDOW)):
        items = [entry for entry in window if isinstance(entry, RawItem)]
        rejects += [entry for entry in window if isinstance(entry, Reject)]
        yield from ((item, *answer) for item, answer in zip(items, pool.map(check, items)))


def _place(writer: catalogue.ImageWriter, data: bytes, digest: bytes) -> int:
    row = writer.row(digest)
    return writer.append(data, digest) if row is None else row


def _purchases(source: Source, images: dict[str, int | None], rejects: list[Reject]) -> pl.DataFrame:
    """Purchases of known items, by user and time; of equal times in the source's order."""
    rows = []
    for entry in source.purchases():
        reason = _fault(entry, images)
        if reason is None or reason == UNPICTURED:
            rows.append((entry.user_id, entry.item_id, entry.time, entry.split))
        if reason is not None:
            rejects.append(entry if isinstance(entry, Reject) else Reject("purchase", entry.item_id, reason))
    return pl.DataFrame(rows, catalogue.PURCHASES, orient="row").sort("user_id", "time", maintain_order=True)


def _fault(entry: RawPurchase | Reject, images: dict[str, int | None]) -> str | None:
    """Why a purchase cannot be used, or not fully; None for a good one."""
    if isinstance(entry, Reject):
        return entry.reason
    if not entry.user_id:
        return "no user id"
    if entry.item_id not in images:
        return "unknown item"
    return UNPICTURED if images[entry.item_id] is None else None


def _require(rows: pl.Series | pl.DataFrame, message: str, rejects: list[Reject]) -> None:
    if not len(rows):
        reasons = list(dict.fromkeys(f"{reject.stage}: {reject.reason}" for reject in rejects))[:EXAMPLES]
        raise SourceError(f"{message} ({len(rejects)} rejects: {'; '.join(reasons) or 'the source is empty'})")
