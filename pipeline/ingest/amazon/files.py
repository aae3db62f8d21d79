"""The files that the settings name: found, recognised, and all of one release."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import SourceError
from pipeline.ingest.amazon.release import Kind, Release, recognise

if TYPE_CHECKING:
    from pipeline.settings.amazon import AmazonSettings


def find(folder: Path, settings: "AmazonSettings") -> tuple[list[Kind], list[Kind]]:
    """The lists of items, and of reviews, each by name.

    Raises:
        SourceError: a name or pattern has no file, a file is of no release or of the other kind, the files are of
            different releases, or the settings ask for what the release does not say.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; source.path names the one with the lists of amazon_reviews")
    items = _recognised(folder, settings.items, "items")
    purchases = _recognised(folder, settings.purchases, "reviews")
    first, *others = items + purchases
    for kind in others:
        if kind.release != first.release:
            both = f"{first.path.name} is of {first.release}, {kind.path.name} of {kind.release}"
            raise SourceError(f"{folder}: the files are of different releases: {both}; name those of one")
    _require_known(purchases, settings)
    return items, purchases


def _recognised(folder: Path, patterns: list[str], content: str) -> list[Kind]:
    setting = "items" if content == "items" else "purchases"
    kinds = []
    for path in sorted({path for pattern in patterns for path in _matches(folder, pattern, setting)}):
        kind = recognise(path)
        if kind.content != content:
            raise SourceError(f"{path}: a list of {kind.content}; amazon_reviews.{setting} names lists of {content}")
        kinds.append(kind)
    return kinds


def _matches(folder: Path, pattern: str, setting: str) -> list[Path]:
    if (folder / pattern).is_file():
        return [folder / pattern]
    paths = [path for path in folder.glob(pattern) if path.is_file()]
    if not paths:
        raise SourceError(f"{folder / pattern}: no such file; amazon_reviews.{setting} names files in source.path")
    return paths


def _require_known(purchases: list[Kind], settings: "AmazonSettings") -> None:
    release: Release = purchases[0].release
    silent = next((kind for kind in purchases if kind.form == "csv" or kind.release == "2014"), None)
    if settings.verified_only and silent:
        raise SourceError(f"{silent.path}: does not say what is verified: set amazon_reviews.verified_only to false")
    if settings.labels == "department" and release != "2023":
        raise SourceError(f"{purchases[0].path}: {release} has no department: set amazon_reviews.labels to categories")
