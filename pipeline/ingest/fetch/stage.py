"""The stage: photos of the source's items, by their addresses, into data/photos."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import polars as pl

from pipeline.core.errors import SettingsError, StageError
from pipeline.core.lock import hold
from pipeline.core.progress import Console
from pipeline.ingest.amazon.source import AmazonReviews
from pipeline.ingest.fetch import records
from pipeline.ingest.fetch.addresses import sized
from pipeline.ingest.fetch.guard import Network
from pipeline.ingest.fetch.ledger import NAME, read_ledger, rows_of
from pipeline.ingest.fetch.plan import plan, wanted
from pipeline.ingest.fetch.reading import is_fetched
from pipeline.ingest.fetch.store import PhotoStore
from pipeline.ingest.table import TableSource
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

CONSOLE, PUBLIC = Console(), Network()


def fetch(
    project: Project,
    settings: "Settings",
    *,
    retry: bool = False,
    network: Network = PUBLIC,
    console: Console = CONSOLE,
) -> None:
    """Fetches what is not there yet; a source that brings its photos gets a record that says so.

    Args:
        project: where photos go.
        settings: the source, and how its photos are fetched.
        retry: whether to ask again for what failed before and may have passed.
        network: what is connected through.
        console: says what is done.

    Raises:
        SettingsError: nobody to turn to is named in fetch.contact.
        SourceError: the source cannot be read.
        StageError: another process fetches, or aiohttp is missing.
    """
    folder = project.photos
    with hold(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if (
            not is_fetched(folder)
            and settings.source.name == "amazon_reviews"
            and settings.amazon_reviews.photos is None
        ):
            _require_ready(settings)  # before lists are read for a long time
        if (addresses := _addresses(project, settings)) is None:
            records.write(folder, settings.source.name, None)
            console.say("fetch: the source brings its photos: nothing to do")
            return
        _fetch(folder, wanted(addresses, settings.fetch.hosts), settings, retry=retry, network=network, console=console)
        _finish(folder, settings.source.name, console)


def _finish(folder: Path, source: str, console: Console) -> None:
    """Writes and says what came of it."""
    found = records.counts(read_ledger(folder))
    records.write(folder, source, found)
    console.say(f"fetch: {found['count'].sum():,} items, see {folder / NAME}, or visagg fetch --list")
    for line in records.lines(found):
        console.say(line)
    if "failed" in found["status"].to_list():
        console.say("fetch: what failed may come with visagg fetch --retry")


def _addresses(project: Project, settings: "Settings") -> Iterator[tuple[str, str]] | None:
    """The source's items with the addresses that are asked for; None where it brings its photos."""
    if settings.source.name == "table":
        table = TableSource(Path(settings.source.path))
        return table.addresses() if table.has_addresses() else None
    if settings.source.name != "amazon_reviews" or settings.amazon_reviews.photos is not None:
        return None
    source = AmazonReviews(Path(settings.source.path), settings.amazon_reviews, project.catalogue.parent)
    return ((item, sized(address, settings.fetch.pixels)) for item, address in source.addresses())


def _fetch(
    folder: Path, items: pl.DataFrame, settings: "Settings", *, retry: bool, network: Network, console: Console
) -> None:
    with PhotoStore(folder) as store:
        if store.lost:
            console.say(f"fetch: {store.lost} rows of {folder / NAME} were damaged, or their photos: fetched anew")
        todo = plan(items, store.ledger, retry=retry)
        if len(todo.jobs):
            _require_ready(settings)
        store.copy(rows_of(todo.rows))
        if len(todo.jobs):
            from pipeline.ingest.fetch.run import Run  # here: it imports aiohttp

            Run(store, settings.fetch, network=network).fetch(todo.jobs)
        if not todo.is_last:  # items that share an address are answered by now
            store.copy(rows_of(plan(items, read_ledger(folder), retry=False).rows))


def write_list(project: Project, out: TextIO) -> None:
    """Writes what is known of each item's address as CSV.

    Raises:
        StageError: nothing was fetched.
    """
    if not is_fetched(project.photos):
        raise StageError(f"{project.photos / NAME} is missing: run visagg fetch")
    records.write_list(read_ledger(project.photos), out)


def _require_ready(settings: "Settings") -> None:
    if find_spec("aiohttp") is None:
        raise StageError("fetching photos needs aiohttp: pip install 'visagg[fetch]'")
    if not settings.fetch.contact:
        named = "your e-mail address or page, which the hosts of photos are shown"
        raise SettingsError(
            f"fetch.contact is empty: name {named}, or the folder of your own under amazon_reviews.photos"
        )
