"""The photos of many people, a folder each, to a table with a row each: for batches, at the pace of stage one."""

import csv
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path

import polars as pl

from pipeline.core.errors import SettingsError, StageError
from pipeline.core.files import write_aside
from pipeline.core.progress import Progress
from pipeline.export.predict.interests import DIGITS, PhotoSet
from pipeline.export.predict.model import Model
from pipeline.export.predict.photos import Photo, find_photos
from pipeline.export.predict.reading import read_photos

FORMATS = (".csv", ".parquet")
CHUNK = 2048  # rows written at a time
BETWEEN = "|"  # interests, in one cell of a CSV file


def predict_each(paths: Sequence[Path], model: Model, threads: int, *, table: Path) -> tuple[int, list[str]]:
    """Writes a row for each folder below the paths: which interests, and the probability of every label.

    Columns: set (the folder's name), photos (distinct ones that were read), unreadable, interests, and for each label
    "probability LABEL". A set without a readable photo has no probabilities. Files beside the folders are nobody's.

    Args:
        paths: folders or zip files.
        model: what answers.
        threads: photos decoded at a time.
        table: a .csv or .parquet file; it appears whole or not at all.

    Returns:
        How many rows, and the names of files beside the folders, which were left out.

    Raises:
        SettingsError: when the table is of another kind.
        StageError: when there is no set, or two sets have one name.
    """
    if table.suffix not in FORMATS:
        raise SettingsError(f"{table}: the table of sets is a {' or '.join(FORMATS)} file")
    with write_aside(table) as aside, Progress("predict", None, "photos") as progress:
        beside: list[str] = []
        rows = _rows(_of_sets(paths, beside), model, threads, progress=progress)
        first = next(rows, None)
        if first is None:
            raise StageError("no set there: name a folder, or a zip file, with a folder of photos for each set")
        write = _write_csv if table.suffix == ".csv" else _write_parquet
        count = write(aside, chain([first], rows), [f"probability {label}" for label in model.labels])
    return count, beside


def _rows(photos: Iterable[Photo], model: Model, threads: int, *, progress: Progress) -> Iterator[dict]:
    """A row for each set."""
    done: set[str] = set()
    for name, of_set in groupby(read_photos(photos, model, threads), key=lambda one: one.photo.parts[0]):
        if name in done:
            raise StageError(f"two sets have the name {name!r}: give their folders different names")
        done.add(name)
        seen = PhotoSet.of(of_set)
        progress.add(len(seen.readable) + len(seen.unreadable) + seen.copies)
        row: dict = {"set": name, "photos": len(seen.readable), "unreadable": len(seen.unreadable), "interests": []}
        values: list[float | None] = [None] * len(model.labels)
        if seen.readable:
            probabilities = seen.answer(model).probabilities[0]
            order = (-probabilities).argsort(kind="stable")
            predicted = probabilities >= model.thresholds
            row["interests"] = [model.labels[label] for label in order if predicted[label]]
            values = [round(float(probability), DIGITS) for probability in probabilities]
        yield {**row, "probabilities": values}


def _of_sets(paths: Sequence[Path], beside: list[str]) -> Iterator[Photo]:
    """The photos in folders below the paths; the names of files beside them are added to a list."""
    for path in paths:
        for photo in find_photos([path]):
            if len(photo.parts) > 1:
                yield photo
            else:
                beside.append(photo.name)


def _write_csv(path: Path, rows: Iterable[dict], columns: list[str]) -> int:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", "photos", "unreadable", "interests", *columns])
        count = 0
        for row in rows:
            *first, interests, probabilities = row.values()
            writer.writerow([*first, BETWEEN.join(interests), *probabilities])
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterable[dict], columns: list[str]) -> int:
    """In parts that are then joined, so that memory does not grow with the sets."""
    schema: dict = {"set": pl.String, "photos": pl.UInt32, "unreadable": pl.UInt32, "interests": pl.List(pl.String)}
    schema |= dict.fromkeys(columns, pl.Float32)
    parts = path.with_name(f"{path.name}.parts")
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    count, chunk = 0, []
    try:
        for count, row in enumerate(rows, start=1):
            *first, probabilities = row.values()
            chunk.append([*first, *probabilities])
            if len(chunk) == CHUNK:
                _write_part(parts, count, chunk, schema=schema)
                chunk = []
        if chunk:
            _write_part(parts, count, chunk, schema=schema)
        pl.scan_parquet(parts / "*.parquet").sink_parquet(path)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return count


def _write_part(folder: Path, last: int, rows: list[list], *, schema: dict) -> None:
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / f"{last:012d}.parquet")
