"""Fetched photos, read by item: as far as they are there, which may be while others are still being fetched."""

import threading
from bisect import bisect_left
from pathlib import Path

import polars as pl

from pipeline.core import handover, provenance
from pipeline.core.errors import Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, open_regular
from pipeline.ingest.fetch.ledger import NAME, read_ledger
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
        ledger = read_ledger(folder)
        if ledger.lost:
            handover.damaged(folder / NAME, f"{ledger.lost} lines", again=AGAIN)
        latest = ledger.latest()
        items = pl.len().over("digest")
        is_shared = (pl.col("status") == "fetched") & (items >= placeholder_items)
        latest = latest.with_columns(pl.when(is_shared).then(pl.lit(SHARED)).otherwise("reason").alias("reason"))
        self._ids, self._reasons = latest["item_id"], latest["reason"]
        self._places = latest.select("shard", "offset", "bytes").to_numpy()
        self._digests, self._addresses = latest["digest"], latest["address"]
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
        if reason := self._reasons[place]:
            raise Unusable(f"photo: {reason}")
        shard, offset, count = self._places[place].tolist()
        if count > LARGEST_IMAGE:
            raise Unusable(f"image of more than {LARGEST_IMAGE >> 20} MiB")
        try:
            photo = read_at(self._handle(shard), offset, count)
        except (OSError, ValueError, OverflowError):
            raise Unusable("fetched photo cannot be read") from None
        if provenance.digest(photo).hex() != self._digests[place]:
            raise Unusable("fetched photo is damaged")
        return photo

    def address(self, item_id: str) -> str | None:
        """What was asked for, for an item; None where nothing was."""
        return None if (place := self._place(item_id)) is None else self._addresses[place]

    def _place(self, item_id: str) -> int | None:
        place = bisect_left(self._ids, item_id)
        return place if place < len(self._ids) and self._ids[place] == item_id else None

    def _handle(self, shard: int) -> int:
        with self._lock:
            if shard not in self._files:
                self._files[shard] = open_regular(shard_path(self._folder, shard))
            return self._files[shard].fileno()
