"""What visagg export does: a trained head and its backbone to a folder that needs neither torch nor this program."""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from pipeline.core.errors import StageError
from pipeline.core.files import write_aside
from pipeline.core.lock import hold
from pipeline.core.progress import Console
from pipeline.embed.backbones.models import licence
from pipeline.export.card import CARD, figures, write_card
from pipeline.export.check import Checked, check
from pipeline.export.folding import fold
from pipeline.export.litert_files import open_litert, write_litert
from pipeline.export.onnx_files import OPSET, write_backbone, write_head
from pipeline.export.predict.exported import BACKBONE, CONFIG, FORMAT, HEAD, open_exported
from pipeline.export.predict.trained import TrainedModel, results_of
from pipeline.heads.classifier import SetClassifier
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

LIBRARIES = ("torch", "timm", "onnx", "onnxscript", "onnxruntime")
READABLE = 0o644
CONSOLE = Console()


@dataclass(frozen=True)
class Form:
    """How a model is exported.

    Attributes:
        half: ONNX weights are stored in 16 bits, else in 32.
        app: the folder gets the application.
        single: the application also as one file, which needs no server.
        runtime: a folder with the browser's runtime, for those without npm.
        litert: the folder gets files for LiteRT.
    """

    half: bool = True
    app: bool = False
    single: bool = False
    runtime: Path | None = None
    litert: bool = False


def export(project: Project, name: tuple[str, str], folder: Path, *, form: Form, settings: "Settings") -> str:
    """Writes a model repository: card, configuration, weights, ONNX; compares it with what it was made of.

    The folder appears whole and checked, or not at all. One that is there and was exported before is replaced.

    Args:
        project: whose trained head.
        name: backbone and head; HEAD_from_OLD is one whose adapter was merged in.
        folder: where it goes.
        form: how.
        settings: of the backbones and heads.

    Returns:
        What is there, for people.

    Raises:
        PipelineError: when the model is not there or cannot be exported, the folder holds something else, or what was
            written does not answer as the trained model does.
    """
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise StageError(f"{folder} holds something that is no exported model: name another folder")
    trained = TrainedModel(project, *name, settings=settings)
    with hold(folder), write_aside(folder) as aside:
        aside.mkdir()
        config = _write_files(aside, trained, form)
        exported = open_exported(aside)
        checked = check(project, project.store(name[0]), exported, trained=trained)
        if form.litert:
            check(project, project.store(name[0]), open_litert(aside, exported), trained=trained)
        facts = _facts(name, trained, checked, settings=settings)
        facts["figures"] = figures(results_of(project, *name, settings=settings))
        write_card(aside, config, trained.data, facts=facts)
        if form.app:
            from pipeline.export.application import write_app

            write_app(aside, runtime=form.runtime, single=form.single)
    return _summary(folder, checked, form)


def _write_files(folder: Path, trained: TrainedModel, form: Form) -> dict:
    """Writes weights and ONNX files, and config.json; returns its content."""
    CONSOLE.say(f"export: {trained.name} to ONNX")
    head = fold(trained.head).eval()
    write_head(folder / HEAD, head, half=form.half)
    write_backbone(folder / BACKBONE, trained.backbone, half=form.half)
    if form.litert:
        write_litert(folder, trained.backbone, head)
    save_file(head.state_dict(), folder / "head.safetensors")
    save_file(trained.backbone.model.state_dict(), folder / "backbone.safetensors")
    labels, files = trained.checkpoint.labels, sorted(path.name for path in folder.iterdir())
    for name in files:
        (folder / name).chmod(READABLE)  # safetensors keeps its files to their owner
    preprocessing = trained.backbone.preprocessing
    config = {
        "format": FORMAT,
        "model": trained.name,
        "source": trained.data["source"],
        "simulated": trained.data["simulated"],
        "labels": labels,
        "thresholds": [trained.seed.threshold] * len(labels),
        "calibration": _calibration(trained.head),
        "dim": trained.checkpoint.dim,
        "preprocessing": {**asdict(preprocessing), "resize": preprocessing.crop.resize},
        "fingerprint": trained.backbone.fingerprint,
        "head": head.spec.model_dump(),
        "seed": trained.seed.seed,
        "sets_digest": trained.checkpoint.sets_digest,
        "onnx_weights": "int16" if form.half else "float32",
        "versions": {"visagg": _version("visagg"), "opset": OPSET, **{name: _version(name) for name in LIBRARIES}},
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return config


def _calibration(head: SetClassifier) -> dict:
    """What was done to the logits before the sigmoid; it is part of the head already."""
    return {"method": "Platt", "slope": round(float(head.slope), 6), "offset": round(float(head.offset), 6)}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _facts(name: tuple[str, str], trained: TrainedModel, checked: Checked, *, settings: "Settings") -> dict:
    """What the card says that neither the configuration nor the data's description does."""
    declared = settings.backbone(name[0])
    base = settings.backbone(declared.finetuned_from) if declared.finetuned_from else declared
    return {
        "head": name[1],
        "seeds": len(trained.checkpoint.seeds),
        "seed": trained.seed.seed,
        "most_images": settings.sets.max_images,
        "weights": base.weights if base.weights.startswith(("hub", "package:")) else Path(base.weights).name,
        "finetuned": declared.finetuned_from is not None,
        "licence": licence(base.model),
        "checked": checked,
    }


def _summary(folder: Path, checked: Checked, form: Form) -> str:
    """What is there, for people."""
    lines = [f"{folder}:"]
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        lines.append(f"  {path.name:22s} {path.stat().st_size / 1e6:7.2f} MB")
    if form.app:
        lines.append(f"  app/                   to try it: visagg serve {folder}")
    lines.append(
        f"Checked on {checked.sets} test users with {checked.images} images: probabilities differ by at most "
        f"{checked.difference:.1e} from the trained model's, no decision does. {folder / CARD} is the model card."
    )
    return "\n".join(lines)
