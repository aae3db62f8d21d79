"""The raw formats, by the name that params.yaml gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ingest.amazon.photos import open_photos
from pipeline.ingest.amazon.source import AmazonReviews
from pipeline.ingest.delimited import Form
from pipeline.ingest.demo.shop import Demo
from pipeline.ingest.dvbpr.source import DVBPR
from pipeline.ingest.fetch.reading import Fetched
from pipeline.ingest.raw import Source
from pipeline.ingest.table import TableSource
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


def _amazon_reviews(settings: "Settings", project: Project, scratch: Path) -> AmazonReviews:
    folder, chosen = Path(settings.source.path), settings.amazon_reviews
    own = folder / chosen.photos if chosen.photos else None
    photos = open_photos(own, project.photos, placeholder_items=settings.fetch.placeholder_items)
    return AmazonReviews(folder, chosen, scratch, photos=photos)


def _table(settings: "Settings", project: Project, _: Path) -> TableSource:
    photos, chosen = Fetched(project.photos, settings.fetch.placeholder_items), settings.source
    return TableSource(Path(chosen.path), chosen.dates, Form(chosen.delimiter, chosen.encoding), photos=photos)


READERS: "dict[str, Callable[[Settings, Project, Path], Source]]" = {
    "demo": lambda settings, *_: Demo(**settings.demo.model_dump()),
    "dvbpr": lambda settings, _, scratch: DVBPR(Path(settings.source.path), scratch),
    "table": _table,
    "amazon_reviews": _amazon_reviews,
}


def open_source(settings: "Settings", project: Project, *, scratch: Path) -> Source:
    """The source that the settings name, opened.

    Args:
        settings: which, and what of it.
        project: has the photos that were fetched.
        scratch: a folder on whose disk a large source may lie meanwhile.

    Raises:
        SourceError: when it is missing, or of another type.
    """
    return READERS[settings.source.name](settings, project, scratch)
