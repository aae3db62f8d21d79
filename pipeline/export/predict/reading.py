"""Photos to vectors, at the pace of stage one: read, decoded and embedded at the same time, and never all in memory.

Photos are read by the rules of a catalogue's images, and vectors are rounded as a store keeps them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import numpy as np

from pipeline.core.errors import Unusable
from pipeline.embed.flow import AHEAD, in_order, pool
from pipeline.export.predict.model import Model
from pipeline.export.predict.photos import Photo
from pipeline.images import Crop, prepare

NOT_FINITE = "the backbone gave no finite vector"


@dataclass(frozen=True)
class ReadPhoto:
    """A photo after the backbone.

    Attributes:
        photo: which one.
        digest: SHA-256 of its bytes; "" where they could not be had.
        vector: float32 [d]; None where it could not be read.
        reason: why not; "" where it could.
    """

    photo: Photo
    digest: str
    vector: np.ndarray | None
    reason: str = ""


Decoded = tuple[Photo, str, np.ndarray | str]  # the pixels, or the reason why not


def read_photos(photos: Iterable[Photo], model: Model, threads: int) -> Iterator[ReadPhoto]:
    """Each photo with its vector or the reason why it has none, in order.

    Args:
        photos: what is read; asked for as it is needed.
        model: whose backbone.
        threads: photos decoded at a time.
    """
    streams = model.engine.streams
    with pool(threads) as decoders, pool(streams) as runners:
        decoded = in_order(decoders, partial(_decode, crop=model.crop), photos, ahead=max(AHEAD, 4 * threads))
        batches = _batches(decoded, model.engine.batch_size)
        for batch in in_order(runners, partial(_embed, model=model), batches, ahead=streams + 1):
            yield from batch


def _decode(photo: Photo, *, crop: Crop) -> Decoded:
    digest = ""
    try:
        data = photo.read()
        digest = sha256(data).hexdigest()
        return photo, digest, prepare(data, [crop])[0]
    except Unusable as fault:
        return photo, digest, fault.reason


def _batches(decoded: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    """Runs of photos of which `size` have pixels; the last run may have fewer."""
    batch: list[Decoded] = []
    for one in decoded:
        batch.append(one)
        if sum(not isinstance(pixels, str) for _, _, pixels in batch) == size or len(batch) == AHEAD:
            yield batch
            batch = []
    if batch:
        yield batch


def _embed(batch: list[Decoded], *, model: Model) -> list[ReadPhoto]:
    pixels = [pixels for _, _, pixels in batch if not isinstance(pixels, str)]
    vectors = iter(_stored(model.engine(np.stack(pixels))) if pixels else ())
    done = []
    for photo, digest, result in batch:
        if isinstance(result, str):
            done.append(ReadPhoto(photo, digest, None, result))
            continue
        vector = next(vectors)
        finite = bool(np.isfinite(vector).all())
        done.append(ReadPhoto(photo, digest, vector if finite else None, "" if finite else NOT_FINITE))
    return done


def _stored(vectors: np.ndarray) -> np.ndarray:
    """Vectors as they come out of a store, which keeps 16 bits a number."""
    with np.errstate(over="ignore"):
        return vectors.astype(np.float16).astype(np.float32)
