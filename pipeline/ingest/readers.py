"""The raw formats, by the name that params.yaml gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ingest.demo.shop import Demo
from pipeline.ingest.dvbpr import DVBPR
from pipeline.ingest.raw import Source
from pipeline.ingest.table import TableSource

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

READERS: "dict[str, Callable[[Settings], Source]]" = {
    "demo": lambda settings: Demo(**settings.demo.model_dump()),
    "dvbpr": lambda settings: DVBPR(Path(settings.source.path)),
    "table": lambda settings: TableSource(Path(settings.source.path), settings.source.dates),
}


def open_source(settings: "Settings") -> Source:
    """The source that the settings name, opened.

    Raises:
        SourceError: when it is missing, or of another type.
    """
    return READERS[settings.source.name](settings)
