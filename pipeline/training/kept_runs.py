"""Training runs that are finished, of a stage that is not: after an interruption only the others are made.

A run is found again by what it is made from: the vectors and labels, to the byte; the head's parts, its seed and what
it is trained with; and the code. It comes back as it was made, so the stage ends in the same bytes.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.core import handover, provenance
from pipeline.core.errors import StageError
from pipeline.core.files import remove, write_aside
from pipeline.core.handover import Files
from pipeline.training.dataset import Dataset

RECORD, STATE = "run.json", "state.safetensors"
UNFINISHED = "unfinished"  # the folder of all stages that keep runs
PACKAGE = Path(__file__).parents[1]
CODE = ("training/*.py", "heads/**/*.py", "metrics/selection.py")  # what decides what a run becomes


@dataclass(frozen=True)
class Finished:
    """What is known of a finished run beside its parameters; the attributes are those of `tuning.Run`."""

    epoch: int
    micro_ap: float
    threshold: float
    history: list[dict[str, Any]]
    files: Files = field(default_factory=dict)


class KeptRuns:
    """The finished runs of one stage.

    Args:
        folder: where they wait; None: none are kept.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder

    def key(self, made_from: Mapping[str, Any], *data: Dataset) -> str:
        """What runs are found again by: a digest of JSON values and of data that decide what they become."""
        if self._folder is None:
            return ""
        return _digest({**made_from, "data": [dataset.digest for dataset in data], "code": _code()})

    def find(self, key: str, start: Mapping[str, Any]) -> tuple[Finished, dict[str, Tensor]] | None:
        """The run from a start, with its head's state; None where none is kept, or it is damaged."""
        if self._folder is None or not (folder := self._place(self._folder, key, start)).is_dir():
            return None
        try:
            finished = handover.read_record(folder / RECORD, Finished, again="")
            handover.require_file(folder / STATE, finished.files.get(STATE, ""), again="")
            return finished, load_file(folder / STATE)
        except (StageError, OSError, SafetensorError):
            return None

    def keep(self, key: str, start: Mapping[str, Any], finished: Finished, *, state: Mapping[str, Tensor]) -> None:
        """Keeps a run."""
        if self._folder is None:
            return
        with write_aside(self._place(self._folder, key, start)) as aside:
            aside.mkdir()
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, aside / STATE)
            handover.write_record_of(aside, RECORD, asdict(finished), files=[STATE])

    def _place(self, folder: Path, key: str, start: Mapping[str, Any]) -> Path:
        return folder / f"{key}-{_digest(start)}"

    def said(self) -> str:
        """What is kept, in a clause."""
        kept = len(list(self._folder.glob(f"[!.]*/{RECORD}"))) if self._folder and self._folder.is_dir() else 0
        if not kept:
            return "no training run was finished"
        runs = "1 finished training run is" if kept == 1 else f"{kept} finished training runs are"
        return f"{runs} kept in {self._folder}, and it goes on from there"

    def clear(self) -> None:
        """Forgets all: the stage is done."""
        if self._folder is None or not self._folder.is_dir():
            return
        remove(self._folder)
        with suppress(OSError):  # where other stages keep runs
            for parent in (folder for folder in self._folder.parents if UNFINISHED in folder.parts):
                parent.rmdir()


NOT_KEPT = KeptRuns(None)


@cache
def _code() -> str:
    """A digest of the code that makes a run, and of torch's version."""
    total = blake2b(torch.__version__.encode(), digest_size=provenance.DIGEST_BYTES)
    for path in sorted(path for pattern in CODE for path in PACKAGE.glob(pattern)):
        total.update(f"{path.relative_to(PACKAGE)} {handover.file_digest(path)}\n".encode())
    return total.hexdigest()


def _digest(values: Mapping[str, Any]) -> str:
    return provenance.digest(json.dumps(values, sort_keys=True).encode()).hex()
