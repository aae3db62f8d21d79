"""Fetched photos, read by item: as far as they are there, which may be while others are still being fetched."""

import threading
from bisect import bisect_left
from pathlib import Path

import polars as pl

from pipeline.core import handover, provenance
from pipeline.core.errors import Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, open_regular
from pipeline.ingest.fetch.ledger import NAME, last_rows, read_ledger
from pipeline.ingest.fetch.shards import read_at, shard_path

AGAIN = "run visagg fetch, which fetches anew what is lost"
SHARED = "a placeholder: very many items share it"


def is_fetched(folder: Path) -> bool:
    """Whether a folder is one that a fetch has filled, or begun to."""
    return (folder / NAME).is_file()


class Fetched:
    """The photos in a folder of a fetch, as its ledger had them when this was made.

    Args:
        folder: with the ledger; without one there are no photos.
        placeholder_items: the least items whose very same photo is a placeholder.

    Raises:
        StageError: the ledger is damaged.

    >>> Fetched(Path("nowhere"), 100).read("B01ABC") is None
    True
    """

    def __init__(self, folder: Path, placeholder_items: int):
        rows = _rows(folder)
        counts = rows.filter(pl.col("is_fetched"))["digest"].value_counts()
        shared = counts.filter(pl.col("count") >= placeholder_items)["digest"]
        is_shared = rows["is_fetched"] & rows["digest"].is_in(shared.implode())
        self._ids, self._reasons, self._is_shared = rows["item_id"], rows["reason"], is_shared
        self._places = rows.select("shard", "offset", "bytes").to_numpy()
        self._digests, self._addresses = rows["digest"], rows["address"]
        self._folder, self._files, self._lock = folder, {}, threading.Lock()  # type: ignore[var-annotated]

    def __len__(self) -> int:
        """How many items were asked for."""
        return len(self._ids)

    def read(self, item_id: str) -> bytes | None:
        """The photo of an item; None where it was not fetched yet.

        Raises:
            Unusable: there is none, with the reason that the ledger has; or it is damaged.
        """
        if (place := self._place(item_id)) is None:
            return None
        if reason := SHARED if self._is_shared[place] else self._reasons[place]:
            raise Unusable(f"photo: {reason}")
        shard, offset, count = self._places[place].tolist()
        if count > LARGEST_IMAGE:
            raise Unusable(f"image of more than {LARGEST_IMAGE >> 20} MiB")
        try:
            photo = read_at(self._handle(shard), offset, count)
        except (OSError, ValueError, OverflowError):
            raise Unusable("fetched photo cannot be read") from None
        if provenance.digest(photo) != self._digests[place]:
            raise Unusable("fetched photo is damaged")
        return photo

    def is_of(self, item_id: str, address: str) -> bool:
        """Whether an item was asked for at this address, and not at one of before, or of another source."""
        return (place := self._place(item_id)) is not None and self._addresses[place] == _hashed(address)

    def _place(self, item_id: str) -> int | None:
        place = bisect_left(self._ids, item_id)
        return place if place < len(self._ids) and self._ids[place] == item_id else None

    def _handle(self, shard: int) -> int:
        with self._lock:
            if shard not in self._files:
                self._files[shard] = open_regular(shard_path(self._folder, shard))
            return self._files[shard].fileno()


def _rows(folder: Path) -> pl.DataFrame:
    """The last row of each item, by item, with what reading needs, in as little memory as that takes."""
    ledger = read_ledger(folder)
    if ledger.lost:
        handover.damaged(folder / NAME, f"{ledger.lost} lines", again=AGAIN)
    rows = ledger.rows.select(
        "item_id",
        (pl.col("status") == "fetched").alias("is_fetched"),
        pl.col("reason").cast(pl.Categorical),
        pl.col("address").hash(),
        pl.col("digest").str.decode("hex", strict=False),
        "shard",
        "offset",
        "bytes",
    )
    del ledger  # its addresses are most of it
    return last_rows(rows)


def _hashed(address: str) -> int:
    return pl.select(pl.lit(address, pl.String).hash()).item()
