"""Adapters on the disk: fitted maps, and which vectors they are between."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as as_bytes
from typing_extensions import TypedDict

from pipeline.core import handover, provenance
from pipeline.core.errors import StageError, StoreError
from pipeline.core.files import write_aside
from pipeline.core.handover import Hex

ARRAYS = ("matrix", "offset")
DESCRIPTION = ("kind", "options", "pairs", "new", "old", "sets_digest")
AGAIN = "run visagg swap again"  # for messages


class AdapterRecord(TypedDict):
    """What an adapter's metadata say; `arrays` is the digest of its two arrays."""

    kind: str
    options: dict[str, float]
    pairs: Annotated[int, Field(ge=1)]
    new: dict[str, Any]
    old: dict[str, Any]
    sets_digest: Hex
    arrays: Hex


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
        sets_digest: of the sets whose training part it was fitted on.
    """

    kind: str
    matrix: np.ndarray
    offset: np.ndarray
    options: dict[str, float]
    pairs: int
    new: dict
    old: dict
    sets_digest: str

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """New vectors, float [m, d_new], as old ones: float32 [m, d_old].

        >>> adapter = Adapter("scaling", np.float32([[3, 0], [0, 3]]), np.float32([1, 1]), {}, 64, {}, {}, "")
        >>> adapter.apply(np.array([[1.0, 2.0]]))
        array([[4., 7.]], dtype=float32)
        """
        return vectors.astype(np.float32) @ self.matrix + self.offset

    def parameters(self) -> int:
        """How many numbers it has.

        >>> Adapter("ridge", np.zeros((1280, 1024)), np.zeros(1024), {}, 64, {}, {}, "").parameters()
        1311744
        """
        return self.matrix.size + self.offset.size


def save(path: Path, adapter: Adapter) -> None:
    """Writes an adapter as safetensors; its metadata is one JSON field `adapter`.

    >>> import tempfile
    >>> adapter = Adapter("scaling", np.float32([[2]]), np.float32([0]), {}, 64, {"b": 1}, {"a": 1}, "cd")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "old/new.safetensors", adapter)
    ...     load(Path(folder) / "old/new.safetensors", {"b": 1}, {"a": 1}, sets_digest="cd").kind
    'scaling'
    """
    arrays = {name: np.ascontiguousarray(getattr(adapter, name), np.float32) for name in ARRAYS}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise StageError(f"{path} is not written: a number of the map is not finite")
    description = {name: getattr(adapter, name) for name in DESCRIPTION}
    record = handover.sealed({**description, "arrays": provenance.digest_tensors(arrays.items())})
    with write_aside(path) as aside:
        # Not save_file: it has a temporary file of its own, which a kill would leave beside the others' adapters.
        aside.write_bytes(as_bytes(arrays, {"adapter": json.dumps(record, sort_keys=True)}))


def load(path: Path, new: dict, old: dict, *, sets_digest: str) -> Adapter:
    """Reads an adapter.

    Args:
        path: the file.
        new: the fingerprint of the vectors that it is to take.
        old: the fingerprint of those that it is to give, on which heads were trained.
        sets_digest: of the sets that the heads know.

    Raises:
        StageError: when there is none, it is damaged, or it was fitted on other sets.
        StoreError: when it is between other vectors, with the fields that differ.

    >>> load(Path("lite0/lite1.safetensors"), new={}, old={}, sets_digest="")
    Traceback (most recent call last):
    pipeline.core.errors.StageError: lite0/lite1.safetensors is missing: run visagg swap lite0 lite1
    """
    if not path.is_file():
        raise StageError(f"{path} is missing: run visagg swap {path.parent.name} {path.stem}")
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
            text = file.metadata()["adapter"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        handover.damaged(path, str(error), again=AGAIN)
    record = handover.parse_record(text.encode(), AdapterRecord, path, again=AGAIN)
    if provenance.digest_tensors(arrays.items()) != record["arrays"]:
        handover.damaged(path, "its arrays are not those that were written", again=AGAIN)
    adapter = Adapter(**arrays, **{name: record[name] for name in DESCRIPTION})  # type: ignore[literal-required]
    if adapter.sets_digest != sets_digest:
        raise StageError(f"{path} was fitted on other sets: {AGAIN}")
    for side, given, fitted in (("new", new, adapter.new), ("old", old, adapter.old)):
        if lines := provenance.differences(given, fitted):
            raise StoreError(f"{path} was fitted for other {side} vectors ({'; '.join(lines)}): run visagg swap again")
    return adapter
