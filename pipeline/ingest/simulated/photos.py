"""Photos in class folders to a table source: the photos are real, who buys them is simulated."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import StageError
from pipeline.core.progress import Progress
from pipeline.ingest import marker
from pipeline.ingest.demo.buyers import Crowd, Habits
from pipeline.ingest.simulated.class_folders import Photo, find_photos
from pipeline.ingest.simulated.folder import fill
from pipeline.ingest.simulated.table_files import Purchase, TableFiles, open_table

TASTE = 0.35  # of each class: a person buys most from two or three of ten


@dataclass(frozen=True)
class Buyers:
    """Those who are simulated.

    Attributes:
        count: how many.
        photos: the fewest and the most that one buys.
        seed: the same seed gives the same purchases.
    """

    count: int = 4000
    photos: tuple[int, int] = (3, 14)
    seed: int = 7


def simulate_purchases(photos: Path, folder: Path, buyers: Buyers, *, labels: Path | None, link: bool) -> str:
    """Writes a table source whose items are the photos of class folders, and whose users do not exist.

    Each user has a taste, a few classes, and buys photos of these; all photos of a class are bought alike.

    Args:
        photos: the folder of class folders.
        folder: where the source goes.
        buyers: who is simulated.
        labels: what the folders show; None: as `find_photos`.
        link: whether the folder gets links to the photos instead of copies.

    Returns:
        What was written, and how to go on.

    Raises:
        SourceError: when there are no photos, or the labels cannot be used.
        StageError: when the folder holds something else.
    """
    inside, outside = folder.resolve(), photos.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise StageError(f"{folder} and {photos} lie in one another: name a folder elsewhere")
    found = find_photos(photos, labels)
    with fill(folder) as aside:
        with open_table(aside) as table, Progress("simulate", len(found), "photos") as progress:
            for index, photo in enumerate(found):
                _add(table, index, photo, link=link)
                progress.add()
            kinds, numbers = np.unique([photo.categories for photo in found], return_inverse=True)
            fewest, most = buyers.photos
            crowd = Crowd(numbers, Habits(TASTE, fewest, most), seed=buyers.seed)
            purchases = table.add_purchases(_purchases(crowd, buyers.count))
        marker.mark(aside, "users", TableFiles.names())
    return (
        f"{folder}: {len(found):,} photos of {len(kinds)} classes, "
        f"{purchases:,} purchases of {buyers.count:,} simulated users\n"
        f"Set source: {{name: table, path: {folder}}} in pipeline/params.yaml, then dvc repro"
    )


def _add(table: TableFiles, index: int, photo: Photo, *, link: bool) -> None:
    """Adds a photo and its row."""
    to = table.add_item(_item_id(index), photo.path.suffix.lower(), categories=photo.categories, title=str(photo.name))
    if link:
        to.symlink_to(photo.path.resolve())
    else:
        shutil.copyfile(photo.path, to)


def _item_id(index: int) -> str:
    return f"P{index:06d}"


def _purchases(crowd: Crowd, users: int) -> Iterator[Purchase]:
    for user in range(users):
        for index, time, split in crowd.history(user):
            yield f"simulated {user:06d}", _item_id(index), time, split
