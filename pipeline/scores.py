"""What a head did on the test sets, on the disk: the only module that knows its folder. Needs no torch.

| file | content |
|---|---|
| figures.parquet | every figure, for each seed, with its value on each resample of the users (`summary.SCHEMA`) |
| sets.parquet | a row a seed and set: its images, their importance to the first seed, figures at k, labels predicted |
| training.json | what tuning tried and chose, and every epoch of the runs that were kept |
"""

import json
from pathlib import Path

import polars as pl

from pipeline import files
from pipeline.errors import StageError


def write(folder: Path, figures: pl.DataFrame, sets: pl.DataFrame | None = None, training: dict | None = None) -> None:
    """Writes a head's results; the folder appears whole or not at all."""
    with files.write_aside(folder) as aside:
        aside.mkdir()
        figures.write_parquet(aside / "figures.parquet", compression="zstd")
        if sets is not None:
            sets.write_parquet(aside / "sets.parquet", compression="zstd")
        if training is not None:
            files.write_json(aside / "training.json", training)


def figures(folder: Path) -> pl.DataFrame | None:
    """A head's figures; None where it has not been evaluated.

    Raises:
        StageError: when the file is damaged.
    """
    return _table(folder / "figures.parquet")


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
