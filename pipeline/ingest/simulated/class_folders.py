"""A folder of class folders: which photos it holds, and what each shows."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from pipeline.core.errors import SourceError
from pipeline.core.text import printable, shown
from pipeline.ingest.amazon.photos import SUFFIXES
from pipeline.ingest.simulated.table_files import spelt

LABELS = "labels.csv"
PATH, CATEGORIES = "path", "categories"


@dataclass(frozen=True)
class Photo:
    """A photo of a class.

    Attributes:
        path: where it lies.
        name: its path below the folder of class folders.
        categories: as a table's cell has them.
    """

    path: Path
    name: PurePosixPath
    categories: str


def find_photos(folder: Path, labels: Path | None = None) -> list[Photo]:
    """The photos in the class folders of a folder, sorted by name.

    A photo's category is the path of folders that leads to it, unless the labels say otherwise of it or of a folder
    above it; the one that says most of its path counts. Files whose name begins with a dot are left out.

    Args:
        folder: of class folders; class folders may lie in others.
        labels: a CSV file with the columns path (of a folder or a photo) and categories (as in a table); None:
            labels.csv in the folder, if there is one.

    Raises:
        SourceError: when there is no photo in a class folder, the labels cannot be read, or they name a path that is
            not there.
    """
    if labels is None and (folder / LABELS).is_file():
        labels = folder / LABELS
    said = {} if labels is None else _read_labels(labels, folder)
    photos = []
    for name in sorted(_names(folder)):
        if categories := _categories(name, said):
            photos.append(Photo(folder / name, name, categories))
    if not photos:
        raise SourceError(f"{folder}: no photos in class folders; expected files such as {folder / 'hat' / '1.jpg'}")
    return photos


def _names(folder: Path) -> Iterator[PurePosixPath]:
    """The paths of image files below the folder."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.is_file():
                yield PurePosixPath(path.relative_to(folder))


def _categories(name: PurePosixPath, said: dict[PurePosixPath, str]) -> str:
    """What a photo shows; empty where it lies in no class folder and no label names it."""
    for path in (name, *name.parents):
        if path in said:
            return said[path]
    folders = name.parent.parts
    if marked := [part for part in folders if "|" in part or ">" in part]:
        raise SourceError(f"folder {shown(marked[0])}: a class must not have | or > in its name, since tables use them")
    return spelt([[printable(part) for part in folders]]) if folders else ""


def _read_labels(path: Path, folder: Path) -> dict[PurePosixPath, str]:
    """The categories by path."""
    try:
        frame = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=False).select(PATH, CATEGORIES)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(f"{path}: not a readable table of {PATH} and {CATEGORIES}: {reason}") from None
    said = {PurePosixPath(name): text or "" for name, text in frame.iter_rows() if name}
    for name in said:
        if not (folder / name).exists():
            raise SourceError(f"{path}: {shown(str(name))} is not in {folder}")
    return said
