"""The public Amazon reviews as a source: lists of items and reviews of one release, filtered as they are read.

Everything that a run reads lies in `source.path`, so that DVC sees it change; `amazon_reviews.items`, `purchases` and
`photos` are names in it. Without photos there, those in data/photos are read, which visagg fetch fills. Items and
reviews wait on the disk beside the catalogue; in memory are ids, and two numbers a review. What the settings leave out
is counted by its reason, and so is what is damaged, of which some rows are kept.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from pipeline.core.errors import SourceError, Unusable
from pipeline.core.progress import Progress
from pipeline.core.text import shortened
from pipeline.ingest.amazon import parse
from pipeline.ingest.amazon.bullets import before_rare, frequent_names
from pipeline.ingest.amazon.core import core, most_bought
from pipeline.ingest.amazon.files import find
from pipeline.ingest.amazon.item_store import OUTSIDE, ItemStore, StoredItem
from pipeline.ingest.amazon.photos import NoPhotos, Photos, reader
from pipeline.ingest.amazon.release import Kind
from pipeline.ingest.amazon.review_store import ReviewStore
from pipeline.ingest.amazon.rows import rows
from pipeline.ingest.raw import RawItem, RawPurchase, Reject, at_fault
from pipeline.ingest.tally import Tally

if TYPE_CHECKING:
    from pipeline.settings.amazon import AmazonSettings

Stage = Literal["item", "purchase"]
NO_PHOTOS = NoPhotos()
ALL_EMPTY = (
    "no item has a category, as in Amazon_Fashion of 2023: use the lists of Clothing_Shoes_and_Jewelry, "
    "or set amazon_reviews.labels to department (details.Department)"
)
NO_DEPARTMENT = "no item has details.Department: set amazon_reviews.labels to categories"
TOO_FEW, TOO_MANY = "left out: fewer reviews than k_core among what is left", "left out: beyond most_items"


class AmazonReviews:
    """The lists of one release, read and filtered.

    Args:
        folder: holds all files.
        settings: which of them, and what of them.
        scratch: a folder on whose disk items and reviews wait: some 60 bytes a review, 300 an item.
        photos: of the items.

    Raises:
        SourceError: a file is missing, of another kind or release, damaged or cut short, or no item has a category.
    """

    def __init__(self, folder: Path, settings: "AmazonSettings", scratch: Path, *, photos: Photos = NO_PHOTOS):
        self._folder, self._settings, self._seconds = folder, settings, settings.seconds()
        self._wanted = [_names(path.split(">")) for path in settings.categories]
        self._photos = photos
        self._of_items, self._of_reviews = Tally(), Tally()
        items, purchases = find(folder, settings)
        self._items, self._reviews = ItemStore(scratch), ReviewStore(scratch)
        self._read_items(items)
        self._read_reviews(purchases)
        self._keep()

    def items(self) -> Iterator[RawItem | Reject]:
        """Yields the items that stay, by id, then what was left out."""
        for row in self._rows.tolist():
            item = self._items[row]
            paths = item.categories if self._frequent is None else before_rare(item.categories, self._frequent)
            yield RawItem(item.item_id, paths, item.title, reader(self._photos, item.item_id))
        yield from self._of_items.rest()

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Yields the items that stay, by id, with the addresses of their photos; an empty one where there is none."""
        for row in self._rows.tolist():
            item = self._items[row]
            yield item.item_id, item.address

    def purchases(self) -> Iterator[RawPurchase | Reject]:
        """Yields the reviews that stay, by user and time, then what was left out."""
        for user_id, item_id, time in self._reviews.sorted(self._kept):
            yield RawPurchase(user_id, item_id, time)
        yield from self._of_reviews.rest()

    def _read_items(self, kinds: list[Kind]) -> None:
        labelled = False
        with Progress("ingest", None, "rows of items") as progress:
            for kind in kinds:
                for line, record in rows(kind):
                    progress.add()
                    try:
                        labelled |= self._read_item(record, kind)
                    except Unusable as fault:
                        self._refuse("item", fault, (kind, line, record))
        if not labelled and self._items.noted:
            reason = ALL_EMPTY if self._settings.labels == "categories" else NO_DEPARTMENT
            raise SourceError(f"{kinds[0].path}: {reason}")
        is_2018 = kinds[0].release == "2018"
        self._frequent = frequent_names(self._items, self._settings.least_category) if is_2018 else None

    def _read_item(self, record: dict | Unusable, kind: Kind) -> bool:
        """Keeps an item, or leaves it out; whether it has a category."""
        if isinstance(record, Unusable):
            raise record
        item_id = parse.item_id(record, kind.release)
        if self._settings.labels == "department":
            paths = parse.department(record)
        else:
            paths = parse.categories(record, kind.release, depth=self._settings.category_depth)
        if self._wanted and not any(_holds(path, wanted) for path in paths for wanted in self._wanted):
            self._items.leave_out(item_id)
            return bool(paths)
        self._items.add(StoredItem(item_id, parse.title(record), paths, parse.photo_address(record, kind.release)))
        return bool(paths)

    def _read_reviews(self, kinds: list[Kind]) -> None:
        with Progress("ingest", None, "rows of reviews") as progress:
            for kind in kinds:
                for line, record in rows(kind):
                    progress.add()
                    try:
                        if isinstance(record, Unusable):
                            raise record
                        review = parse.review(record, kind.release)
                    except Unusable as fault:
                        self._refuse("purchase", fault, (kind, line, record))
                        continue
                    if reason := self._left_out(review):
                        self._leave_out("purchase", reason)
                    else:
                        self._reviews.add(review)

    def _left_out(self, review: parse.Review) -> str | None:
        settings = self._settings
        begin, end = self._seconds
        if settings.verified_only and not review.is_verified:
            return "left out: not verified"
        if settings.least_rating and (review.rating is None or review.rating < settings.least_rating):
            return "left out: rated below least_rating"
        return None if begin <= review.time < end else "left out: not between first_day and last_day"

    def _keep(self) -> None:
        """Joins reviews and items, and decides which of both stay."""
        index = self._items.index()
        rows = index.filter(pl.col("row") != OUTSIDE)["row"].to_numpy()
        self._leave_out("item", "left out: of no chosen category", len(index) - len(rows))
        self._leave_out("item", "left out: its id was there before", self._items.noted - len(index))
        parts = []
        for joined in self._reviews.join(index):
            parts.append(joined.edges)
            for reason, count in joined.dropped.items():
                self._leave_out("purchase", reason, count)
        kept = [np.ones(len(part.items), bool) for part in parts]
        stays = np.ones(len(rows), bool)
        if most := self._settings.most_items:
            stays = most_bought(parts, len(rows), most)
            kept = [stays[part.items] for part in parts]
            self._leave_out("item", TOO_MANY, int((~stays).sum()))
            self._leave_out("purchase", TOO_MANY, sum(int((~mask).sum()) for mask in kept))
        if least := self._settings.k_core:
            before, kept = kept, core(parts, kept, len(rows), least=least)
            stayed, stays = stays, np.zeros(len(rows), bool)
            for part, mask in zip(parts, kept, strict=True):
                stays[part.items[mask]] = True
            self._leave_out("item", TOO_FEW, int(stayed.sum() - stays.sum()))
            self._leave_out("purchase", TOO_FEW, sum(int(mask.sum()) for mask in before) - sum(map(np.sum, kept)))
        self._kept, self._rows = kept, rows[stays]

    def _leave_out(self, stage: Stage, reason: str, count: int = 1) -> None:
        """Counts rows that the settings leave out."""
        tally = self._of_items if stage == "item" else self._of_reviews
        if count:
            tally.add(Reject(stage, "", reason, count=int(count), is_row=False, is_fault=False))

    def _refuse(self, stage: Stage, fault: Unusable, at: tuple[Kind, int, dict | Unusable]) -> None:
        """Counts a row that is faulty, with where it stands and what is wrong."""
        kind, line, record = at
        names = ("parent_asin", "asin")
        ids = [record[name] for name in names if isinstance(record.get(name), str)] if isinstance(record, dict) else []
        reject = Reject(
            stage,
            shortened(_text(ids[0]), 64) if ids else "",
            fault.reason,
            file=str(kind.path.relative_to(self._folder)),
            line=line,
            **at_fault(fault),
        )
        (self._of_items if stage == "item" else self._of_reviews).add(reject)


def _text(value: str) -> str:
    """A short text that can be written as UTF-8."""
    return shortened(value, 100).encode("utf-8", "replace").decode("utf-8")


def _names(path: list[str]) -> list[str]:
    return [name.strip().casefold() for name in path]


def _holds(path: list[str], wanted: list[str]) -> bool:
    """Whether the wanted names stand in a path, one behind the other.

    >>> _holds(["Clothing, Shoes & Jewelry", "Women", "Clothing", "Tops"], ["women", "clothing"])
    True
    """
    names, count = _names(path), len(wanted)
    return any(names[start : start + count] == wanted for start in range(len(names) - count + 1))
