"""The raw formats, by the name that params.yaml gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ingest.amazon.source import AmazonReviews
from pipeline.ingest.delimited import Form
from pipeline.ingest.demo.shop import Demo
from pipeline.ingest.dvbpr import DVBPR
from pipeline.ingest.raw import Source
from pipeline.ingest.table import TableSource

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

READERS: "dict[str, Callable[[Settings, Path], Source]]" = {
    "demo": lambda settings, _: Demo(**settings.demo.model_dump()),
    "dvbpr": lambda settings, _: DVBPR(Path(settings.source.path)),
    "table": lambda settings, _: TableSource(
        Path(settings.source.path),
        settings.source.dates,
        Form(settings.source.delimiter, settings.source.encoding),
    ),
    "amazon_reviews": lambda settings, scratch: AmazonReviews(
        Path(settings.source.path), settings.amazon_reviews, scratch
    ),
}


def open_source(settings: "Settings", scratch: Path) -> Source:
    """The source that the settings name, opened.

    Args:
        settings: which, and what of it.
        scratch: a folder on whose disk a large source may lie meanwhile.

    Raises:
        SourceError: when it is missing, or of another type.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    return READERS[settings.source.name](settings, scratch)
