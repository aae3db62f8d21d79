"""A drawn catalogue of any size and its simulated users, as a table source or in the layout of the published data."""

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.files import sync
from pipeline.core.progress import Console, Progress
from pipeline.ingest import marker
from pipeline.ingest.simulated.drawing import draw
from pipeline.ingest.simulated.dvbpr_file import NAME, write_dvbpr
from pipeline.ingest.simulated.folder import fill
from pipeline.ingest.simulated.shop import Shop, item_of
from pipeline.ingest.simulated.table_files import TableFiles, open_table, spelt

USERS_AN_ITEM = 64_583 / 234_892  # as in Amazon Fashion


@dataclass(frozen=True)
class Size:
    """How much is simulated: items, users (None: as many for an item as Amazon Fashion has), and from which seed."""

    items: int
    users: int | None = None
    seed: int = 7

    def shop(self) -> Shop:
        """The shop of that size."""
        return Shop(self.items, self.users or max(1, round(self.items * USERS_AN_ITEM)), self.seed)


def simulate_catalogue(folder: Path, size: Size, *, layout: str, jobs: int | None) -> str:
    """Writes a source whose images are drawn and whose users do not exist. The same seed gives the same bytes.

    Memory grows by 10 bytes an item.

    Args:
        folder: where the source goes.
        size: of the source.
        layout: "table", or "dvbpr" for a file in the layout of AmazonFashion6ImgPartitioned.npy.
        jobs: processes that draw; None: one a core.

    Returns:
        What was written, and how to go on.

    Raises:
        StageError: when the folder holds something else.
    """
    shop = size.shop()
    with fill(folder) as aside:
        Console().say(f"simulate: who buys which of {shop.items:,} items")
        _ = shop.crowd
        with closing(draw(shop.seed, shop.items, jobs or os.cpu_count() or 1)) as pictures:
            write = write_dvbpr if layout == "dvbpr" else _write_table
            purchases = write(aside, shop, _counted(pictures, shop.items))
        marker.mark(aside, "images and users", [NAME] if layout == "dvbpr" else TableFiles.names())
    return (
        f"{folder}: {shop.items:,} drawn items, {purchases:,} purchases of {shop.users:,} simulated users\n"
        f"Set source: {{name: {layout}, path: {folder}}} in pipeline/params.yaml, then dvc repro"
    )


def _counted(pictures: Iterable[bytes], total: int) -> Iterator[bytes]:
    with Progress("simulate", total, "pictures") as progress:
        for picture in pictures:
            yield picture
            progress.add()


def _write_table(folder: Path, shop: Shop, pictures: Iterable[bytes]) -> int:
    """Fills a folder as a table source, and returns how many purchases it holds."""
    with open_table(folder) as table:
        bought = (
            (user_id, f"S{index:09d}", time, split)
            for user_id, history in shop.histories()
            for index, time, split in history
        )
        purchases = table.add_purchases(bought)
        for index, picture in enumerate(pictures):
            item = item_of(shop.seed, index)
            to = table.add_item(item.item_id, ".jpg", categories=spelt(item.categories), title=item.title)
            to.write_bytes(picture)
            sync(to)  # here, while others draw: all at the end would take as long again
    return purchases
