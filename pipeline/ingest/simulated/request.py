"""What a user asks to be simulated: buyers of photos, or a catalogue that is drawn."""

from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.core.errors import SettingsError
from pipeline.ingest.simulated.catalogue import Size, simulate_catalogue
from pipeline.ingest.simulated.photos import Buyers, simulate_purchases

OPTION_OF = {"bought": "photos"}  # on the command line, where it is not the field's name


@dataclass(frozen=True)
class OfPhotos:
    """How photos are bought: fewest and most of a user, what folders show, whether links to the photos are enough."""

    bought: tuple[int, int] | None = None
    labels: Path | None = None
    link: bool = False


@dataclass(frozen=True)
class OfItems:
    """What is drawn: how many items, in which layout ("table" or "dvbpr"), by how many processes."""

    items: int | None = None
    layout: str | None = None
    jobs: int | None = None


@dataclass(frozen=True)
class Request:
    """All that was given: users and seed belong to both ways."""

    of_photos: OfPhotos
    of_items: OfItems
    users: int | None
    seed: int


def simulate(photos: Path | None, folder: Path, request: Request) -> str:
    """Writes a simulated source, and returns what was written.

    Args:
        photos: a folder of class folders, whose buyers are simulated; None: the pictures are drawn too.
        folder: where the source goes.
        request: how.

    Raises:
        SettingsError: when the options do not go together.
        SourceError: as `simulate_purchases`.
        StageError: when the folder holds something else.
    """
    buying, drawing = request.of_photos, request.of_items
    if (photos is None) == (drawing.items is None):
        raise SettingsError("simulate: give either PHOTOS, a folder of class folders, or --items")
    if photos is None:
        _refuse(buying, "PHOTOS")
        size = Size(drawing.items or 0, request.users, request.seed)
        return simulate_catalogue(folder, size, layout=drawing.layout or "table", jobs=drawing.jobs)
    _refuse(drawing, "--items")
    fewest, most = buying.bought or Buyers.photos
    if fewest > most:
        raise SettingsError(f"simulate: --photos {fewest} {most}: name the fewest first")
    buyers = Buyers(request.users or Buyers.count, (fewest, most), request.seed)
    return simulate_purchases(photos, folder, buyers, labels=buying.labels, link=buying.link)


def _refuse(options: OfPhotos | OfItems, belong_to: str) -> None:
    """Raises SettingsError where an option was given that belongs to the other way."""
    for field in fields(options):
        if getattr(options, field.name):
            name = OPTION_OF.get(field.name, field.name)
            raise SettingsError(f"simulate: --{name} belongs to {belong_to}")
