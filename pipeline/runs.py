"""A trained head on the disk: the only module that knows its folder.

| file | content |
|---|---|
| run.json | the head's spec, its labels, the identity of the vectors it reads, what tuning tried and chose |
| seed-N.safetensors | parameters and standardisation of one seed |
| history.csv | every epoch of every run that tuning made |
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline import provenance
from pipeline.errors import StageError, StoreError
from pipeline.files import write_aside, write_json
from pipeline.heads import HeadSpec, build_head
from pipeline.heads.classifier import SetClassifier


@dataclass(frozen=True)
class SeedResult:
    """One seed of a trained head.

    Attributes:
        seed: of its parameters' start and of the order of its batches.
        epoch: the one whose parameters were kept.
        micro_ap: on validation, at that epoch.
        threshold: of the probability, with the highest micro-F1 on validation.
    """

    seed: int
    epoch: int
    micro_ap: float
    threshold: float


@dataclass(frozen=True)
class Run:
    """What is known of a trained head beside its parameters.

    Attributes:
        spec: the head's parts, as HeadSpec has them.
        dim: d.
        labels: names, in index order.
        identity: of the embeddings it was trained on.
        learning_rate: the chosen one.
        tuning: validation micro average precision of the first seed at each learning rate.
        seeds: one entry a seed, at the chosen learning rate.
    """

    spec: dict
    dim: int
    labels: list[str]
    identity: dict
    learning_rate: float
    tuning: dict[str, float]
    seeds: list[SeedResult]


def save(folder: Path, run: Run, states: list[dict[str, Tensor]], history: pl.DataFrame) -> None:
    """Writes a trained head, one state a seed; the folder appears whole or not at all."""
    with write_aside(folder) as aside:
        aside.mkdir()
        for result, state in zip(run.seeds, states, strict=True):
            save_file(state, aside / f"seed-{result.seed}.safetensors")
        history.write_csv(aside / "history.csv", float_precision=6)
        write_json(aside / "run.json", asdict(run))


def load(folder: Path) -> Run:
    """Reads what is known of a trained head.

    Raises:
        StageError: when there is none, or the file is something else.
    """
    try:
        content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return Run(**{**content, "seeds": [SeedResult(**seed) for seed in content["seeds"]]})
    except FileNotFoundError:
        backbone, head = folder.parts[-2:]
        raise StageError(f"{folder} holds no trained head: run visagg train {backbone} {head}, or dvc repro") from None
    except (ValueError, KeyError, TypeError):
        raise StageError(f"{folder / 'run.json'} is damaged: delete the folder and train the head again") from None


def load_history(folder: Path) -> pl.DataFrame:
    """Every epoch of every run that tuning made."""
    return pl.read_csv(folder / "history.csv")


def load_head(folder: Path, run: Run, seed: int) -> SetClassifier:
    """The head of one seed, in evaluation mode."""
    head = build_head(run.spec, run.dim, len(run.labels))
    head.load_state_dict(load_file(folder / f"seed-{seed}.safetensors"))
    return head.eval()


def merged(run: Run, spec: HeadSpec, dim: int, identity: dict) -> Run:
    """What is known of a head after an adapter was merged into it: it reads other vectors."""
    return replace(run, spec=spec.model_dump(), dim=dim, identity=identity)


def require_identity(folder: Path, run: Run, identity: dict) -> None:
    """Makes sure that a head gets the vectors it was trained on.

    Raises:
        StoreError: when the store's identity is another, with the fields that differ.
    """
    if lines := provenance.differences(identity, run.identity):
        raise StoreError(f"{folder} was trained on other embeddings ({'; '.join(lines)}): train it again")
