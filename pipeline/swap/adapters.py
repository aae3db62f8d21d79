"""Adapters on the disk: fitted maps, and which vectors they are between."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.core import provenance
from pipeline.core.errors import StageError, StoreError
from pipeline.core.files import write_aside

ARRAYS = ("matrix", "offset")
DESCRIPTION = ("kind", "options", "pairs", "new", "old")


@dataclass(frozen=True)
class Adapter:
    """A fitted map and what it maps: old = new @ matrix + offset.

    Attributes:
        kind: one of KINDS.
        matrix: float32 [d_new, d_old].
        offset: float32 [d_old].
        options: what was chosen on held-out pairs: strength, rank.
        pairs: how many images it was fitted on.
        new: the fingerprint of the vectors that it takes.
        old: the fingerprint of those that it gives.
    """

    kind: str
    matrix: np.ndarray
    offset: np.ndarray
    options: dict[str, float]
    pairs: int
    new: dict
    old: dict

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """New vectors, float [m, d_new], as old ones: float32 [m, d_old].

        >>> adapter = Adapter("scaling", np.float32([[3, 0], [0, 3]]), np.float32([1, 1]), {}, 64, {}, {})
        >>> adapter.apply(np.array([[1.0, 2.0]]))
        array([[4., 7.]], dtype=float32)
        """
        return vectors.astype(np.float32) @ self.matrix + self.offset

    def parameters(self) -> int:
        """How many numbers it has.

        >>> Adapter("ridge", np.zeros((1280, 1024)), np.zeros(1024), {}, 64, {}, {}).parameters()
        1311744
        """
        return self.matrix.size + self.offset.size


def save(path: Path, adapter: Adapter) -> None:
    """Writes an adapter as safetensors; its metadata is one JSON field `adapter`.

    >>> import tempfile
    >>> adapter = Adapter("scaling", np.float32([[2]]), np.float32([0]), {}, 64, {"weights": "b"}, {"weights": "a"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "old/new.safetensors", adapter)
    ...     load(Path(folder) / "old/new.safetensors", new={"weights": "b"}, old={"weights": "a"}).kind
    'scaling'
    """
    description = {name: getattr(adapter, name) for name in DESCRIPTION}
    arrays = {name: np.ascontiguousarray(getattr(adapter, name), np.float32) for name in ARRAYS}
    with write_aside(path) as aside:
        save_file(arrays, aside, {"adapter": json.dumps(description, sort_keys=True)})


def load(path: Path, new: dict, old: dict) -> Adapter:
    """Reads an adapter, for new vectors of one fingerprint and heads that were trained on vectors of another.

    Raises:
        StageError: when there is none.
        StoreError: when it is damaged, or between other vectors, with the fields that differ.

    >>> load(Path("lite0/lite1.safetensors"), new={}, old={})
    Traceback (most recent call last):
    pipeline.core.errors.StageError: lite0/lite1.safetensors is missing: run visagg swap lite0 lite1
    """
    if not path.is_file():
        raise StageError(f"{path} is missing: run visagg swap {path.parent.name} {path.stem}")
    try:
        with safe_open(path, "np") as file:
            description = json.loads(file.metadata()["adapter"])
            adapter = Adapter(**{name: file.get_tensor(name) for name in ARRAYS}, **description)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{path} is damaged: delete it and run visagg swap again") from None
    for side, given, fitted in (("new", new, adapter.new), ("old", old, adapter.old)):
        if lines := provenance.differences(given, fitted):
            raise StoreError(f"{path} was fitted for other {side} vectors ({'; '.join(lines)}): run visagg swap again")
    return adapter
