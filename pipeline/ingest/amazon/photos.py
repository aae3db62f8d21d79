"""Photos of items: whatever answers an item's id with its bytes, such as a folder of files named by it."""

import os
from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

import polars as pl

from pipeline.catalogue.tables import NO_IMAGE
from pipeline.core.errors import SourceError, Unusable
from pipeline.core.regular_file import LARGEST_IMAGE, open_regular, read_whole
from pipeline.ingest.fetch.reading import Fetched, is_fetched

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif"}
BLOCK = 100_000


class Photos(Protocol):
    """Where an item's photo comes from: several threads may ask at a time."""

    def read(self, item_id: str) -> bytes | None:
        """The encoded photo; None where there is none. Raises Unusable where it is there and cannot be read."""
        ...


class NoPhotos:
    """No item has a photo."""

    def read(self, item_id: str) -> bytes | None:
        """None."""
        return None


class FolderPhotos:
    """Files named by the id of their item, at any depth, with the suffix of any kind of image.

    Of several files of one item, the first by its path is taken. In memory are the names alone.

    Args:
        folder: where they are.

    Raises:
        SourceError: there is no such folder.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise SourceError(
                f"{folder}: no such folder; amazon_reviews.photos names one with files such as B01ABC.jpg"
            )
        self._folder = folder
        names = _names(folder)
        blocks = []
        while block := list(islice(names, BLOCK)):
            blocks.append(pl.DataFrame(block, {"item_id": pl.String, "path": pl.String}, orient="row"))
        files = pl.concat(blocks) if blocks else pl.DataFrame(schema={"item_id": pl.String, "path": pl.String})
        files = files.sort("item_id", "path").unique("item_id", keep="first", maintain_order=True)
        self._ids, self._paths = files["item_id"], files["path"]

    def __len__(self) -> int:
        """How many items have one."""
        return len(self._ids)

    def read(self, item_id: str) -> bytes | None:
        """The photo of an item; None where there is no file of its name."""
        place = bisect_left(self._ids, item_id)
        if place == len(self._ids) or self._ids[place] != item_id:
            return None
        try:
            with open_regular(self._folder / self._paths[place]) as file:
                size = os.fstat(file.fileno()).st_size
                if size > LARGEST_IMAGE:
                    raise Unusable(f"image of more than {LARGEST_IMAGE >> 20} MiB")
                return read_whole(file, size)
        except OSError:
            raise Unusable("image file cannot be read") from None


def open_photos(folder: Path | None, fetched: Path, *, placeholder_items: int) -> Photos:
    """The photos that there are.

    Args:
        folder: of one's own: files named by item, or what an earlier fetch has filled; None: there is none.
        fetched: what visagg fetch fills.
        placeholder_items: as of `Fetched`.

    Raises:
        SourceError: there is no such folder.
        StageError: a ledger is damaged.
    """
    if folder is None or is_fetched(folder):
        return Fetched(folder or fetched, placeholder_items)
    return FolderPhotos(folder)


def read_photo(photos: Photos, item_id: str) -> bytes:
    """The photo of an item; raises Unusable where there is none."""
    if (photo := photos.read(item_id)) is None:
        raise Unusable(NO_IMAGE)
    return photo


def reader(photos: Photos, item_id: str) -> partial[bytes]:
    """What reads an item's photo once somebody looks at it."""
    return partial(read_photo, photos, item_id)


def _names(folder: Path) -> Iterator[tuple[str, str]]:
    """The stem and the path of each image file in a folder."""
    for place, _, files in os.walk(folder):
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES:
                path = os.path.relpath(os.path.join(place, name), folder)
                if path.isascii() or _is_text(path):
                    yield stem, path


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
