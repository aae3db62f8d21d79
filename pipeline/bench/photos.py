"""Which photos are embedded, and the bank that holds them."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np

from pipeline.bench.job import PhotoSample
from pipeline.catalogue.images import write_images
from pipeline.core import provenance
from pipeline.core.errors import StageError, Unusable
from pipeline.core.progress import Console
from pipeline.images import decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SEED = 0


def gather(folder: Path, limit: int | None, bank: Path, *, console: Console) -> PhotoSample:
    """Looks for photos and writes a bank of them; those that cannot be decoded are left out.

    Args:
        folder: searched with all folders in it.
        limit: how many photos to take, spread over the classes; None: all.
        bank: the images.h5 to write.
        console: where it says what was left out.

    Raises:
        StageError: when there is no photo, or none that can be decoded.
    """
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not photos:
        raise StageError(f"{folder} holds no photos ({', '.join(SUFFIXES)})")
    order = np.random.default_rng(SEED).permutation(len(photos))
    chosen = _spread([photos[i] for i in order], folder, limit)
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        paths = [path for path, readable in zip(chosen, pool.map(_is_readable, chosen)) if readable]
    if len(paths) < len(chosen):
        console.say(f"bench: {len(chosen) - len(paths)} of {len(chosen)} photos cannot be decoded and are left out")
    if not paths:
        raise StageError(f"{folder}: not one photo can be decoded")
    rows = _write_bank(paths, bank)
    if copies := len(rows) - len(np.unique(rows)):
        console.say(f"bench: {copies} of {len(rows)} photos are copies of others: the bank, as ever, holds them once")
    return PhotoSample(paths, [_class_of(path, folder) for path in paths], bank, rows)


def _spread(shuffled: Sequence[Path], folder: Path, limit: int | None) -> list[Path]:
    """The first few, in their order, with as many of each class as the classes allow."""
    seen: Counter[str] = Counter()
    turns = []
    for path in shuffled:
        name = _class_of(path, folder)
        turns.append((seen[name], name))
        seen[name] += 1
    first = sorted(range(len(shuffled)), key=turns.__getitem__)[:limit]
    return [shuffled[i] for i in sorted(first)]


def _class_of(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else ""


def _is_readable(path: Path) -> bool:
    try:
        decode(path.read_bytes())
    except Unusable:
        return False
    return True


def _write_bank(paths: Sequence[Path], bank: Path) -> np.ndarray:
    """Writes the photos in their order, copies once, and returns the row of each, int64 [n]."""
    rows = []
    with write_images(bank) as writer:
        for path in paths:
            data = path.read_bytes()
            digest = provenance.digest(data)
            known = writer.row(digest)
            rows.append(writer.append(data, digest) if known is None else known)
    return np.array(rows, np.int64)
