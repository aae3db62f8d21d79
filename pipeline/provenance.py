"""Who made this array: digests of content, and the difference between two makers."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

DIGEST_BYTES = 16  # 128 bits: a chance collision among a billion images is beyond notice


def digest(content: bytes) -> bytes:
    """BLAKE2b of some bytes, 16 bytes long."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def digest_images(digests: np.ndarray) -> str:
    """One name for a whole catalogue's images in their order, from their digests uint8 [n, 16]."""
    return digest(np.ascontiguousarray(digests).tobytes()).hex()


def digest_tensors(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    """SHA-256 of named arrays: names, types, shapes and values, in order of name."""
    total = hashlib.sha256()
    for name, array in sorted(tensors, key=lambda pair: pair[0]):
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def differences(found: Mapping, wanted: Mapping, prefix: str = "") -> list[str]:
    """Every field in which two identities differ, with both values, in order of name.

    Args:
        found: the identity that is there; values are JSON values, mappings may nest.
        wanted: the identity that was asked for.
        prefix: dotted name of the mapping that holds both.

    Returns:
        Lines such as "preprocessing.size: 224, not 240"; empty when the two are equal.
    """
    lines = []
    for key in sorted({*found, *wanted}):
        mine, theirs = found.get(key), wanted.get(key)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            lines += differences(mine, theirs, f"{prefix}{key}.")
        elif mine != theirs:
            lines.append(f"{prefix}{key}: {mine}, not {theirs}")
    return lines
