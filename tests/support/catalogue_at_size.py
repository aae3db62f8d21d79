"""A catalogue at the real one's size, or a part or a multiple of it, for the stage that makes sets: made-up rows.

To measure, by hand:
    python -m tests.support.catalogue_at_size FOLDER --share 10
It makes the catalogue in FOLDER, whose sets `visagg sets` then makes with source.name=table, sets.least_items=1000.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.catalogue import tables
from pipeline.catalogue.images import write_images
from pipeline.core import provenance
from pipeline.project import Project

ITEMS, USERS, PURCHASES, KINDS = 234_892, 64_583, 513_504, 78
SECONDS_A_YEAR = 365 * 24 * 3600


def make(project: Project, share: float) -> None:
    """Items of so many kinds, two levels of categories each, an image an item, and purchases in their order."""
    rng, items = np.random.default_rng(0), round(ITEMS * share)
    project.catalogue.mkdir(parents=True)
    with write_images(project.catalogue / "images.h5") as writer:
        for item in range(items):
            image = item.to_bytes(8, "big")
            writer.append(image, provenance.digest(image))
    ids = pl.Series([f"S{item:09d}" for item in range(items)])
    paths = [[["Clothing", f"Part {kind % 6}", f"Kind {kind}"], ["Sale", f"Kind {kind}"]] for kind in range(KINDS)]
    kind = pl.Series(paths, dtype=tables.ITEMS["categories"]).gather(rng.integers(0, KINDS, items))
    title = pl.select(pl.format("A drawn garment with the number {}", ids)).to_series()
    columns = {"item_id": ids, "image": np.arange(items), "categories": kind, "title": title}
    bought, users = round(PURCHASES * share), round(USERS * share)
    purchases = pl.DataFrame(
        {
            "user_id": pl.Series([f"U{user:09d}" for user in range(users)]).gather(rng.integers(0, users, bought)),
            "item_id": ids.gather(rng.integers(0, items, bought)),
            "time": rng.integers(0, SECONDS_A_YEAR, bought),
        },
        schema_overrides={"time": pl.Int64},
    ).with_columns(source_split=pl.lit(None, tables.SPLITS))
    none = pl.DataFrame(schema=tables.REJECTS)
    written = {"items": pl.DataFrame(columns), "purchases": purchases.sort("user_id", "time"), "rejects": none}
    tables.write_tables(project.catalogue, written)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1 / 16, help="of the real catalogue's size")
    given = parser.parse_args()
    make(Project(given.folder), given.share)
