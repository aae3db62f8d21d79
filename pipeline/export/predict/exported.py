"""An exported folder as a model that answers, by ONNX Runtime: what whoever carries it away has, and nothing else."""

import hashlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from pipeline.core.errors import StageError
from pipeline.core.handover import Dim, Files
from pipeline.embed.engines.engine import CPU_BATCH, Engine
from pipeline.export.predict.model import Model
from pipeline.images import Crop

CONFIG, BACKBONE, HEAD = "config.json", "backbone.onnx", "head.onnx"
FORMAT = 1
AGAIN = "export the model again"  # for messages
INSTALL = "onnxruntime is not installed: pip install 'visagg[export]'"


@checked(frozen=True, kw_only=True, config=ConfigDict(extra="ignore"))
class ExportedCrop:
    """What a photo goes through before the backbone: Crop, as the configuration has it."""

    size: int = Field(ge=1, le=4096)
    resize: int = Field(ge=1, le=8192)
    interpolation: str = Field(pattern="^(bilinear|bicubic)$")


@checked(frozen=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Config:
    """What config.json says that an answer needs; it says more, for people.

    Attributes:
        format: of the folder.
        model: BACKBONE/HEAD.
        simulated: whether it was trained on people who do not exist.
        labels: names, in the order of the probabilities.
        thresholds: of the probabilities, one a label.
        dim: d, numbers a vector.
        preprocessing: what a photo goes through.
        files: SHA-256 of the other files.
    """

    format: int
    model: str
    simulated: bool
    labels: list[str] = Field(min_length=1)
    thresholds: list[float] = Field(min_length=1)
    dim: Dim
    preprocessing: ExportedCrop
    files: Files


def read_config(folder: Path) -> Config:
    """Reads config.json.

    Raises:
        StageError: when it is missing, damaged, or of another format.
    """
    path = folder / CONFIG
    try:
        config = TypeAdapter(Config).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise StageError(f"{path} is missing: {AGAIN}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise StageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}: {AGAIN}") from None
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror}") from None
    if config.format != FORMAT:
        raise StageError(f"{folder / CONFIG} has format {config.format}, and this program reads {FORMAT}: {AGAIN}")
    if len(config.labels) != len(config.thresholds):
        raise StageError(f"{folder / CONFIG}: {len(config.labels)} labels and {len(config.thresholds)} thresholds")
    return config


def open_exported(folder: Path) -> Model:
    """Opens an exported folder.

    Raises:
        StageError: when a file is missing or was changed, or ONNX Runtime is not installed.
    """
    config = read_config(folder)
    for name in (BACKBONE, HEAD):
        _require(folder / name, config.files.get(name, ""))
    threads, crop = joblib.cpu_count(), config.preprocessing
    backbone, head = session(folder / BACKBONE), session(folder / HEAD)

    def embed(pixels: np.ndarray) -> np.ndarray:
        return backbone.run(["vectors"], {"pixels": pixels})[0]

    def answer(vectors: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        names = ["probabilities", "importance_by_label"]
        probabilities, weights = head.run(names, {"vectors": vectors, "mask": mask})
        return probabilities, weights

    return Model(
        name=config.model,
        labels=config.labels,
        thresholds=np.array(config.thresholds),
        simulated=config.simulated,
        crop=Crop(crop.size, crop.resize, crop.interpolation),
        engine=Engine(embed, "onnxruntime cpu", CPU_BATCH, threads),
        head=answer,
    )


def _require(path: Path, digest: str) -> None:
    """Raises StageError unless a file is the one that the configuration speaks of."""
    try:
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror}: {AGAIN}") from None
    if not same:
        raise StageError(f"{path} is not the file that was written with {CONFIG}: {AGAIN}")


def session(path: Path) -> Any:
    """An ONNX file, ready to run on one thread.

    Raises:
        StageError: when ONNX Runtime is not installed, or does not take the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise StageError(INSTALL) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it raises of kinds of its own
        raise StageError(f"{path} does not load: {str(error).partition(chr(10))[0]}: {AGAIN}") from None
