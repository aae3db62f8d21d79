"""Weights that fine-tuning made, and the record beside them. The only module that knows their folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipeline.core import handover
from pipeline.core.errors import StageError
from pipeline.core.files import write_aside
from pipeline.core.handover import Files
from pipeline.project import Project

if TYPE_CHECKING:
    from torch import Tensor

RECORD = "finetuned.json"


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        epoch: counted from 1.
        loss: mean over its images.
        micro_ap: of the classifier on validation images.
    """

    epoch: Annotated[int, Field(ge=1)]
    loss: float
    micro_ap: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Finetuned:
    """What lies beside the weights.

    Attributes:
        made_from: the backbone, the settings, the images and the code; empty for a backbone that is used as it is.
        images: how many trained, and how many chose the epoch.
        epochs: each of them.
        files: digest of the weights.
    """

    made_from: dict[str, Any] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    files: Files = field(default_factory=dict)


def write(out: Path, record: Finetuned, state: "Mapping[str, Tensor]") -> None:
    """Writes weights, by name, and their record; no weights: the backbone is used as it is."""
    with write_aside(out) as aside:
        aside.mkdir()
        if state:
            from safetensors.torch import save  # here: it imports torch, and who reads a record needs none

            (aside / Project.WEIGHTS).write_bytes(save(dict(state)))
        handover.write_record_of(aside, RECORD, asdict(record), files=[Project.WEIGHTS] if state else [])


def is_finished(out: Path, made_from: dict[str, Any]) -> bool:
    """Whether whole weights lie there that were made from the same."""
    try:
        record = handover.read_record(out / RECORD, Finetuned, again="")
        for name, digest in record.files.items():
            handover.require_file(out / name, digest, again="")
    except StageError:
        return False
    return record.made_from == made_from and bool(record.files)


def require_weights(project: Project, alias: str) -> None:
    """Makes sure of the weights of a fine-tuned backbone.

    Raises:
        StageError: when they are missing or damaged.
    """
    folder, again = project.finetuned(alias), f"run visagg finetune {alias}"
    record = handover.read_record(folder / RECORD, Finetuned, again=again)
    if Project.WEIGHTS not in record.files:
        handover.damaged(folder / RECORD, f"made while {alias} was used as it is", again=again)
    handover.require_file(project.finetuned_weights(alias), record.files[Project.WEIGHTS], again=again)
