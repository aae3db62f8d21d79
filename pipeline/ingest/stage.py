"""A source to the catalogue: every image checked, every identifier made sure of, every refusal noted."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl

from pipeline.catalogue import tables
from pipeline.catalogue.images import write_images
from pipeline.core.failure import BEGINS_ANEW, keeping
from pipeline.core.files import write_aside
from pipeline.ingest.marker import simulated_of
from pipeline.ingest.raw import Source
from pipeline.ingest.readers import open_source
from pipeline.ingest.reading import Reading
from pipeline.ingest.tally import Tally
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


def ingest(project: Project, settings: "Settings") -> str:
    """Reads the source that the settings name, and writes the catalogue.

    Returns:
        How much the catalogue holds, and what was refused or left out and why, for people.

    Raises:
        SourceError: when the source cannot be read, too much of it is faulty, or nothing of it can be used.
    """
    origin, data = origin_of(settings), project.catalogue.parent
    data.mkdir(parents=True, exist_ok=True)
    source = open_source(settings, project, scratch=data)
    with keeping(BEGINS_ANEW):
        built = build_catalogue(
            source,
            origin,
            project.catalogue,
            threads=os.cpu_count() or 1,
            most_rejects=settings.source.most_rejects,
            simulated=simulated_of(settings.source),
        )
    total = sum(built.rejects.counts.values())
    return "\n".join(
        [
            f"ingest: {built.items:,} items, {built.pictured:,} with an image ({built.images:,} distinct images), "
            f"{built.purchases:,} purchases: {project.catalogue}",
            f"ingest: {total:,} refused or left out{f', see {project.catalogue}/rejects.csv' if total else ''}",
            *built.rejects.summary(),
        ]
    )


def origin_of(settings: "Settings") -> str:
    """The source's name in messages."""
    return "demo" if settings.source.name == "demo" else settings.source.path


@dataclass(frozen=True)
class Built:
    """How much a catalogue holds, and what was refused.

    Attributes:
        items: how many items.
        pictured: how many of them have an image.
        images: how many distinct images.
        purchases: how many purchases.
        rejects: what was refused.
    """

    items: int
    pictured: int
    images: int
    purchases: int
    rejects: Tally


def build_catalogue(
    source: Source,
    origin: str,
    folder: Path,
    *,
    threads: int,
    most_rejects: float = 1.0,
    simulated: tables.Simulated = "",
) -> Built:
    """Writes the catalogue's folder: items, purchases, images.h5, rejects. It appears whole or not at all.

    Args:
        source: the raw data.
        origin: its name in messages.
        folder: where the catalogue goes; an older one is replaced.
        threads: how many images are checked at a time.
        most_rejects: the share of items, images or purchases that may be faulty.
        simulated: what of the source does not exist.

    Returns:
        How much it holds, and what was refused.

    Raises:
        SourceError: when no item has a usable image, no purchase is left, or too much is faulty.
    """
    with write_aside(folder) as aside, ExitStack() as parts_folder:
        aside.mkdir()
        parts = Path(parts_folder.enter_context(TemporaryDirectory(prefix="parts", dir=aside)))
        reading = Reading(source, origin, parts, name="ingest", threads=threads)
        with write_images(aside / "images.h5") as writer:
            items = reading.items(writer)
        reading.require_items(items, most_rejects)
        purchases = reading.purchases(items)
        reading.require_purchases(purchases, most_rejects)
        written = {"items": items.table.sorted(), "purchases": purchases.table.sorted()}
        _write(aside, written, reading.rejects, simulated=simulated)
    images = items.images
    return Built(len(images), images.pictured, images.distinct, len(purchases.table), reading.rejects)


def _write(folder: Path, written: dict[str, pl.LazyFrame], rejects: Tally, *, simulated: tables.Simulated) -> None:
    """Writes the tables beside the images."""
    rejects.frame().write_csv(folder / "rejects.csv")
    rows = [(reject.stage, reject.item_id, reject.reason) for reject in rejects.rows]
    rejected = pl.DataFrame(rows, tables.REJECTS, orient="row").sort("stage", "item_id", "reason")
    tables.write_tables(folder, {**written, "rejects": rejected.lazy()}, rejects.count_frame(), simulated=simulated)
