"""Writes what the `table` source reads: items.csv, purchases.csv and a folder of images."""

import csv
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.core.text import printable

ITEMS, PURCHASES = "items.csv", "purchases.csv"
IMAGES_A_FOLDER = 1000
Purchase = tuple[str, str, int, str]  # user_id, item_id, time, split


class TableFiles:
    """The tables of a folder, open for rows.

    Args:
        folder: that is being filled.
        stack: closes the files.
    """

    def __init__(self, folder: Path, stack: ExitStack):
        self._folder = folder
        files = [stack.enter_context((folder / name).open("w", encoding="utf-8", newline="")) for name in self.names()]
        self._items, self._purchases = (csv.writer(file, lineterminator="\n") for file in files)
        self._items.writerow(("item_id", "image", "categories", "title"))
        self._purchases.writerow(("user_id", "item_id", "time", "split"))
        self._count = 0

    @staticmethod
    def names() -> tuple[str, str]:
        """Of the two tables."""
        return ITEMS, PURCHASES

    def add_item(self, item_id: str, suffix: str, *, categories: str, title: str) -> Path:
        """Adds an item, and returns where its image goes: images/000/ID.jpg for the suffix ".jpg"."""
        place = Path("images", f"{self._count // IMAGES_A_FOLDER:03d}", f"{item_id}{suffix}")
        if self._count % IMAGES_A_FOLDER == 0:
            (self._folder / place).parent.mkdir(parents=True)
        self._count += 1
        self._items.writerow((item_id, place.as_posix(), categories, printable(title)))
        return self._folder / place

    def add_purchases(self, purchases: Iterable[Purchase]) -> int:
        """Adds purchases, and returns how many there were."""
        count = 0
        for count, purchase in enumerate(purchases, 1):  # noqa: B007 (the last one is the count)
            self._purchases.writerow(purchase)
        return count


@contextmanager
def open_table(folder: Path) -> Iterator[TableFiles]:
    """Opens the tables of a folder that is being filled."""
    with ExitStack() as stack:
        yield TableFiles(folder, stack)


def spelt(paths: Iterable[Iterable[str]]) -> str:
    """Categories as a cell has them.

    >>> spelt([["Clothing", "Hats"], ["Sale"]])
    'Clothing > Hats|Sale'
    """
    return "|".join(" > ".join(path) for path in paths)
