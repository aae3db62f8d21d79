"""The catalogue's tables: items, purchases, rejects, and the record that ties them to the images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from typing_extensions import TypedDict

from pipeline.catalogue.images import INGEST, Images
from pipeline.core import handover
from pipeline.core.errors import StageError
from pipeline.core.handover import Files, Hex
from pipeline.core.table import Table

SPLITS = pl.Enum(["train", "validation", "test"])
ITEMS = pl.Schema(
    {
        "item_id": pl.String(),
        "image": pl.UInt32(),
        "categories": pl.List(pl.List(pl.String())),
        "title": pl.String(),
    }
)
PURCHASES = pl.Schema({"user_id": pl.String(), "item_id": pl.String(), "time": pl.Int64(), "source_split": SPLITS})
REJECTS = pl.Schema({"stage": pl.String(), "item_id": pl.String(), "reason": pl.String()})
COUNTS = pl.Schema({"stage": pl.String(), "reason": pl.String(), "count": pl.UInt64()})
TABLES = {"items": ITEMS, "purchases": PURCHASES, "rejects": REJECTS}
ROWS_A_GROUP = 250_000
NULLABLE = {"items": ("image",), "purchases": ("source_split",), "rejects": ()}
RECORD = "catalogue.json"
Simulated = Literal["", "users", "images and users"]  # what of a catalogue does not exist

NO_IMAGE = "no image"  # the reject's reason where an item never had one; any other is of an image that is unusable


class CatalogueRecord(TypedDict):
    """What catalogue.json holds: digests of the tables' files, and of the images in their order; what is simulated."""

    files: Files
    images_digest: Hex
    simulated: Simulated


@dataclass(frozen=True)
class Catalogue:
    """The tables of a catalogue's folder, which were written together.

    Attributes:
        folder: which one.
        record: what belongs to it.
    """

    folder: Path
    record: CatalogueRecord

    @classmethod
    def open(cls, folder: Path) -> "Catalogue":
        """Opens the folder.

        Raises:
            StageError: when it is missing or damaged.
        """
        return cls(folder, handover.read_record(folder / RECORD, CatalogueRecord, again=INGEST))

    def table(self, name: str) -> Table:
        """One of TABLES: its rows are read when somebody asks for them.

        Raises:
            StageError: when it is missing, damaged, or of another catalogue.
        """
        path = self.folder / f"{name}.parquet"
        digest = self.record["files"].get(path.name, "")
        return handover.open_table(path, TABLES[name], digest=digest, again=INGEST, nullable=NULLABLE[name])

    def counts(self) -> pl.DataFrame:
        """How many rows were refused or left out, by stage and reason: exact, where rejects may hold some of many.

        Raises:
            StageError: as `table`.
        """
        path = self.folder / "counts.parquet"
        return handover.read_frame(path, COUNTS, digest=self.record["files"].get(path.name, ""), again=INGEST)

    def images(self) -> "Images":
        """The images; raises as `table`."""
        images = Images(self.folder / "images.h5")
        if images.digest() != self.record["images_digest"]:
            raise StageError(f"{self.folder} holds images of another catalogue than its tables: {INGEST}, or dvc repro")
        return images


def write_tables(
    folder: Path,
    tables: Mapping[str, pl.DataFrame | pl.LazyFrame],
    counts: pl.DataFrame | None = None,
    *,
    simulated: Simulated = "",
) -> None:
    """Writes a catalogue's tables, by name, into the folder that has its images, and the record of all.

    Args:
        folder: of the catalogue.
        tables: items, purchases and rejects; lazy ones are written as they are read.
        counts: of rejects, as COUNTS; None: each row of the rejects is one.
        simulated: what of it does not exist.
    """
    images_digest = Images(folder / "images.h5").digest()
    if counts is None:
        counts = tables["rejects"].lazy().group_by("stage", "reason").len("count").sort("stage", "reason").collect()
    schemas = {**TABLES, "counts": COUNTS}
    for name, frame in {**tables, "counts": counts}.items():
        columns = frame.lazy().select(*schemas[name]).cast(schemas[name])
        columns.sink_parquet(folder / f"{name}.parquet", compression="zstd", row_group_size=ROWS_A_GROUP)
    names = [f"{name}.parquet" for name in [*tables, "counts"]]
    handover.write_record_of(folder, RECORD, {"images_digest": images_digest, "simulated": simulated}, files=names)
