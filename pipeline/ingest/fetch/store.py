"""A folder of fetched photos that is being filled: shards and their ledger, in an order that no kill can upset.

A photo is handed to the system before its row, so a row whose process was killed has its photo. For a power cut, in
which the system may keep the one and lose the other, both are brought to the disk from time to time, and the ledger
then says up to which row; behind that, a row counts when its photo has its digest.
"""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from pipeline.core import provenance
from pipeline.core.files import sync, write_aside
from pipeline.ingest.fetch.ledger import NAME, Ledger, Row, Status, cut, line, read_ledger, rows_of
from pipeline.ingest.fetch.shards import LARGEST, ShardWriter, read_at, shard_path, shard_sizes, write_all


class PhotoStore:
    """The folder, opened by its only writer, who holds its lock.

    Args:
        folder: made where it is not there.
        largest: bytes of a shard.

    Attributes:
        ledger: as it was when it was opened, and mended where it had to be.
        lost: how many rows were damaged, or lacked their photo: they are as if they had never been.
    """

    def __init__(self, folder: Path, largest: int = LARGEST):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._path = folder, folder / NAME
        self.ledger, self.lost = _mended(folder)
        self._shards = ShardWriter(folder, largest)
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        sync(folder)
        self._count, self._safe = len(self.ledger.rows), self.ledger.safe
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Brings all to the disk, unless the disk is what failed."""
        try:
            if not isinstance(error, OSError):
                self.sync()
        finally:
            self._shards.close()
            os.close(self._handle)

    def keep(self, item_id: str, address: str, photo: bytes, *, tries: int) -> None:
        """Keeps the photo of an item."""
        digest = provenance.digest(photo).hex()
        with self._lock:
            shard, offset = self._shards.append(photo)
            self._append([Row(item_id, address, "fetched", "", tries, len(photo), digest, shard, offset)])

    def note(self, item_id: str, address: str, status: Status, *, reason: str, tries: int) -> None:
        """Notes why an item has no photo."""
        with self._lock:
            self._append([Row(item_id, address, status, reason, tries)])

    def copy(self, rows: Iterable[Row]) -> None:
        """Appends rows whose photos are there, or which have none."""
        block: list[Row] = []
        for row in rows:
            block.append(row)
            if len(block) == 1000:
                with self._lock:
                    self._append(block)
                block = []
        with self._lock:
            self._append(block)

    def _append(self, rows: list[Row]) -> None:
        write_all(self._handle, b"".join(map(line, rows)))
        self._count += len(rows)

    def sync(self) -> None:
        """Brings what is kept so far to the disk, and says so in the ledger. May run beside `keep`."""
        with self._lock:
            count = self._count
            full, written = self._shards.handles()
        for handle in full:
            os.fsync(handle)
            os.close(handle)
        if count == self._safe:
            return
        os.fsync(written)
        if full:
            sync(self._folder)
        os.fsync(self._handle)
        with self._lock:
            write_all(self._handle, line([count]))
        self._safe = count
        os.fsync(self._handle)


def _mended(folder: Path) -> tuple[Ledger, int]:
    """The ledger without what is damaged or lacks its photo, and how many rows that were."""
    ledger = read_ledger(folder)
    right = _right(folder, ledger)
    lost = ledger.lost + int((~right).sum())
    if not lost:
        cut(folder / NAME, ledger.end)
        return ledger, 0
    rows = ledger.rows.filter(right)
    with write_aside(folder / NAME) as aside, aside.open("wb") as file:
        for row in rows_of(rows):
            file.write(line(row))
        file.write(line([len(rows)]))
    return Ledger(rows, (folder / NAME).stat().st_size, 0, len(rows)), lost


def _right(folder: Path, ledger: Ledger) -> pl.Series:
    """Whether each row's photo is there: by the size of its file, and by its digest where that is not sure to be."""
    sizes = shard_sizes(folder)
    known = pl.DataFrame({"shard": [*sizes], "size": [*sizes.values()]}, {"shard": pl.Int64, "size": pl.Int64})
    rows = ledger.rows.join(known, on="shard", how="left", maintain_order="left").with_row_index()
    has_room = pl.col("offset") + pl.col("bytes") <= pl.col("size").fill_null(-1)
    right = rows.select((pl.col("status") != "fetched") | has_room).to_series()
    unsure = rows.filter(right & (rows["index"] >= ledger.safe) & (rows["status"] == "fetched"))
    wrong = [
        row[0]
        for row in unsure.select("index", "shard", "offset", "bytes", "digest").iter_rows()
        if _differs(folder, row)
    ]
    return right & ~rows["index"].is_in(wrong)


def _differs(folder: Path, row: tuple) -> bool:
    _, shard, offset, count, digest = row
    handle = os.open(shard_path(folder, shard), os.O_RDONLY)
    try:
        return provenance.digest(read_at(handle, offset, count)).hex() != digest
    finally:
        os.close(handle)
