"""What a head did on the test sets, on the disk: the only module that knows its folder. Needs no torch.

| file | content |
|---|---|
| values.parquet | every metric value of each seed, and on each resample of the users (`metrics.measure.SCHEMA`) |
| sets.parquet | a row a seed and set: its images, their importance to the first seed, metrics at k, labels predicted |
| training.json | the head's parameters, what tuning tried and chose, and every epoch of the runs that were kept |
"""

import json
from pathlib import Path

import polars as pl

from pipeline.core import files
from pipeline.core.errors import StageError


def write(
    folder: Path, values: pl.DataFrame, *, sets: pl.DataFrame | None = None, training: dict | None = None
) -> None:
    """Writes a head's results; the folder appears whole or not at all. None: there is no such file."""
    with files.write_aside(folder) as aside:
        aside.mkdir()
        values.write_parquet(aside / "values.parquet", compression="zstd")
        if sets is not None:
            sets.write_parquet(aside / "sets.parquet", compression="zstd")
        if training is not None:
            files.write_json(aside / "training.json", training)


def values(folder: Path) -> pl.DataFrame | None:
    """A head's metric values; None where it has not been evaluated.

    Raises:
        StageError: when the file is damaged.
    """
    return _table(folder / "values.parquet")


def sets(folder: Path) -> pl.DataFrame | None:
    """A head's results set by set; None where it has not been evaluated, or scores no set apart from the others.

    Raises:
        StageError: when the file is damaged.
    """
    return _table(folder / "sets.parquet")


def training(folder: Path) -> dict | None:
    """How a head was trained; None where it has not been evaluated, or never was trained.

    Raises:
        StageError: when the file is damaged.
    """
    try:
        return json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise _damaged(folder) from None


def _table(path: Path) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(path)
    except FileNotFoundError:
        return None
    except pl.exceptions.PolarsError:
        raise _damaged(path.parent) from None


def _damaged(folder: Path) -> StageError:
    return StageError(f"{folder} is damaged: delete it and run dvc repro")
