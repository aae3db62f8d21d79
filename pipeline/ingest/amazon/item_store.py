"""Items on the disk while the reviews are read: in memory only their ids, and where each lies."""

import json
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

BLOCK = 100_000  # ids that are gathered before they go into a column
OUTSIDE = -1  # in place of an item's row: the settings leave it out


class StoredItem(NamedTuple):
    """An item as it is kept.

    Attributes:
        item_id: its id.
        title: its name.
        categories: paths from the root.
        address: of its photo; empty where it has none.
    """

    item_id: str
    title: str
    categories: list[list[str]]
    address: str = ""


class ItemStore:
    """Items in the order they came, in a file without a name: it goes with the process, however that ends.

    Args:
        scratch: the folder on whose disk it lies.

    Attributes:
        noted: how many ids came, of items that are kept or left out.
    """

    def __init__(self, scratch: Path):
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (it lives as long as this)
        self._starts = array("q")
        self._ids: list[str] = []
        self._rows: list[int] = []
        self._blocks: list[pl.DataFrame] = []
        self._end = 0
        self.noted = 0

    def add(self, item: StoredItem) -> None:
        """Keeps an item."""
        self._note(item.item_id, len(self._starts))
        self._starts.append(self._end)
        self._end += self._file.write(json.dumps(item).encode() + b"\n")

    def leave_out(self, item_id: str) -> None:
        """Notes the id of an item that the settings leave out, so that its reviews are known for what they are."""
        self._note(item_id, OUTSIDE)

    def _note(self, item_id: str, row: int) -> None:
        self.noted += 1
        self._ids.append(item_id)
        self._rows.append(row)
        if len(self._ids) == BLOCK:
            self._flush()

    def _flush(self) -> None:
        rows = pl.Series(self._rows, dtype=pl.Int32)
        self._blocks.append(pl.DataFrame({"item_id": pl.Series(self._ids, dtype=pl.String), "row": rows}))
        self._ids, self._rows = [], []

    def index(self) -> pl.DataFrame:
        """The ids by the alphabet, with their rows, OUTSIDE for those left out; of an id that repeats, the first."""
        self._flush()
        frame = pl.concat(self._blocks)
        self._blocks = [frame]
        return frame.unique("item_id", keep="first", maintain_order=True).sort("item_id")

    def __len__(self) -> int:
        """How many items were kept, those whose ids repeat included."""
        return len(self._starts)

    def __getitem__(self, row: int) -> StoredItem:
        """An item by its row."""
        self._file.seek(self._starts[row])
        return StoredItem(*json.loads(self._file.readline()))

    def __iter__(self) -> Iterator[StoredItem]:
        """The items in the order they came."""
        self._file.seek(0)
        for line in self._file:
            yield StoredItem(*json.loads(line))
