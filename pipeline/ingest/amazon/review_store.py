"""Reviews on the disk, dealt into parts by their user: a part at a time fits, and holds all that its users bought."""

import heapq
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO
from zlib import crc32

import numpy as np
import polars as pl

from pipeline.core.errors import SourceError
from pipeline.ingest.amazon.core import Edges
from pipeline.ingest.amazon.item_store import OUTSIDE
from pipeline.ingest.amazon.parse import Review

PARTS = 64
BLOCK = 1000  # flags of reviews that become Python's own at a time
LARGEST_PART, FACTOR = 1 << 30, 8  # bytes; and so many times the mean: more is no honest file's
COLUMNS = {"user_id": pl.String, "item_id": pl.String, "time": pl.Int64}
UNKNOWN = "left out: of an item that the lists of items do not have"
OF_OTHERS = "left out: of an item that the settings leave out"
REPEATED = "left out: repeats a review of the same user, item and time"


@dataclass(frozen=True)
class Joined:
    """A part joined to the items.

    Attributes:
        edges: for each review the user, counted within the part, and the item's place among those that are kept, by id.
        dropped: reviews left out, by reason.
    """

    edges: Edges
    dropped: dict[str, int]


class ReviewStore:
    """Reviews in files without names: they go with the process, however that ends.

    Args:
        scratch: the folder on whose disk they lie.
        parts: how many files.
    """

    def __init__(self, scratch: Path, parts: int = PARTS):
        self._scratch = scratch
        self._files = [self._new_file() for _ in range(parts)]

    def _new_file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._scratch)

    def add(self, review: Review) -> None:
        """Keeps a review."""
        user = review.user_id.encode()
        file = self._files[crc32(user) % len(self._files)]
        file.write(b"%s\t%s\t%d\n" % (user, review.item_id.encode(), review.time))

    def join(self, index: pl.DataFrame) -> Iterator[Joined]:
        """Joins each part in turn to the items, and keeps it so: reviews of kept items, once each, by user and time.

        Args:
            index: item_id and row of the items, as `ItemStore.index` gives them.

        Raises:
            SourceError: nearly all reviews are of users that share a part, as if one had written them.
        """
        sizes = [file.tell() for file in self._files]
        if max(sizes) > max(LARGEST_PART, FACTOR * sum(sizes) // len(sizes)):
            raise SourceError("the reviews are of so few users that they cannot be taken apart: refused")
        places = index.with_columns(place=(pl.col("row") != OUTSIDE).cum_sum() - 1)
        for number, file in enumerate(self._files):
            file.seek(0)
            text = file.read()
            frame = (
                pl.read_csv(
                    text, has_header=False, separator="\t", quote_char=None, new_columns=list(COLUMNS), schema=COLUMNS
                )
                if text
                else pl.DataFrame(schema=COLUMNS)
            )
            file.close()
            yield self._joined(number, frame, places)

    def _joined(self, number: int, frame: pl.DataFrame, places: pl.DataFrame) -> Joined:
        known = frame.join(places, on="item_id", how="left", maintain_order="left")
        ours = known.filter(pl.col("row") != OUTSIDE)
        once = ours.unique(maintain_order=True, keep="first").sort("user_id", "time", maintain_order=True)
        unknown = known["row"].null_count()
        dropped = {UNKNOWN: unknown, OF_OTHERS: len(known) - unknown - len(ours), REPEATED: len(ours) - len(once)}
        users = once["user_id"].rle_id().to_numpy().astype(np.int32)
        edges = Edges(users, once["place"].to_numpy().astype(np.int32))
        self._files[number] = self._new_file()
        once.select(*COLUMNS).write_csv(self._files[number], include_header=False, separator="\t", quote_style="never")
        return Joined(edges, dropped)

    def sorted(self, kept: list[np.ndarray]) -> Iterator[tuple[str, str, int]]:
        """The reviews that are kept, by user and time; of equal times in the lists' order.

        Args:
            kept: of each part, which of its reviews: bool [reviews of the part].

        Yields:
            user_id, item_id, time.
        """
        streams = [self._stream(file, part) for file, part in zip(self._files, kept, strict=True)]
        yield from heapq.merge(*streams, key=lambda row: row[0])

    def _stream(self, file: IO[bytes], kept: np.ndarray) -> Iterator[tuple[str, str, int]]:
        file.seek(0)
        blocks = (kept[start : start + BLOCK].tolist() for start in range(0, len(kept), BLOCK))
        for line, is_kept in zip(file, chain.from_iterable(blocks), strict=True):
            if is_kept:
                user_id, item_id, time = line.decode().split("\t")
                yield user_id, item_id, int(time)
