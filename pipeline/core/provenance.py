"""What made an array: digests of content, and the difference between two fingerprints."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

DIGEST_BYTES = 16  # 128 bits: a chance collision among a billion images is beyond notice


def digest(content: bytes) -> bytes:
    """BLAKE2b of some bytes, 16 bytes long.

    >>> digest(b"an image").hex()
    'a3d66dba29814f8d78101b6abbcd5539'
    """
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def digest_images(digests: np.ndarray) -> str:
    """The digest of a catalogue's images in their order, 32 hex digits, from the digest of each, uint8 [n, 16]."""
    return digest(np.ascontiguousarray(digests).tobytes()).hex()


def digest_tensors(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    """SHA-256 of named arrays, 64 hex digits: names, types, shapes and values, in order of name."""
    total = hashlib.sha256()
    for name, array in sorted(tensors, key=lambda pair: pair[0]):
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def differences(actual: Mapping, expected: Mapping, prefix: str = "") -> list[str]:
    """Every field in which two fingerprints differ, with both values, in order of name.

    Args:
        actual: the fingerprint that is there; values are JSON values, mappings may nest.
        expected: the fingerprint that was asked for.
        prefix: dotted name of the mapping that holds both.

    Returns:
        A line a field; none when the two are equal.

    >>> differences({"pixels": {"size": 224}, "dim": 1280}, {"pixels": {"size": 240}, "dim": 1280})
    ['pixels.size: 224, not 240']
    """
    lines = []
    for key in sorted({*actual, *expected}):
        value, wanted = actual.get(key), expected.get(key)
        if isinstance(value, Mapping) and isinstance(wanted, Mapping):
            lines += differences(value, wanted, f"{prefix}{key}.")
        elif value != wanted:
            lines.append(f"{prefix}{key}: {value}, not {wanted}")
    return lines
