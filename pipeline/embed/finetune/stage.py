"""The stage: a backbone that is declared as another one, fine-tuned; its weights, and what they were made from."""

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.catalogue.images import Images
from pipeline.core import handover
from pipeline.core.failure import keeping
from pipeline.core.files import clear, remove
from pipeline.core.lock import hold
from pipeline.core.progress import Console
from pipeline.embed.backbones.backbone import open_backbone
from pipeline.embed.finetune.examples import load_examples
from pipeline.embed.finetune.weights import Finetuned, is_finished, write
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

CONSOLE = Console()
KEPT = "epochs and images that are through are kept, and it goes on from there"


def finetune(project: Project, backbone: str, settings: "Settings", *, console: Console = CONSOLE) -> None:
    """Trains the last blocks of a backbone on the catalogue's categories: cache/finetuned/BACKBONE.

    Finished weights that were made from the same are left as they are. A backbone that is used as it is gets a record
    that says so, because the graph asks every backbone for one.

    Args:
        project: where the sets and images lie.
        backbone: the one to make, by its alias.
        settings: what it is made of, how, and with which engine.
        console: says what is done.

    Raises:
        StageError: when the sets or images are missing or damaged, or nothing is left to train on.
        SettingsError, WeightsError: as `open_backbone`, or when the model cannot be cut in two.
    """
    base, out = settings.backbone(backbone).finetuned_from, project.finetuned(backbone)
    with hold(out), keeping(KEPT):
        if base is None:
            write(out, Finetuned(), {})
            return
        images, declared = Images(project.images), settings.backbone(base)
        start = open_backbone(declared.model, declared.weights, project.backbone_record(base))
        train, validation = load_examples(project, images)
        made_from = {**_origin(backbone, settings), "backbone": start.fingerprint, "images": images.digest()}
        made_from |= {"train": train.digest(), "validation": validation.digest()}
        if is_finished(out, made_from):
            clear(out)  # what a run that was killed behind its last write has left
            remove(project.finetuning(backbone))
            console.say(f"finetune: {backbone} is up to date")
            return
        from pipeline.embed.finetune.run import Run  # here: it imports torch, and most runs of this stage need none

        run = Run(images, start, project.finetuning(backbone), console=console)
        run.begin(made_from)
        trained = run.train(train, validation, settings, seed=settings.backbones[backbone].seed)
        write(out, Finetuned(made_from, trained.images, trained.epochs), trained.state)
        remove(project.finetuning(backbone))
        best = max(trained.epochs, key=lambda epoch: epoch.micro_ap)
        console.say(f"finetune: {backbone} is epoch {best.epoch}; run visagg embed {backbone}, or dvc repro")


def _origin(backbone: str, settings: "Settings") -> dict[str, Any]:
    """What weights are made from beside data: settings, and the code."""
    return {
        "settings": settings.finetune.model_dump(),
        "seed": settings.backbones[backbone].seed,
        "timm": importlib.metadata.version("timm"),
        "code": [handover.file_digest(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
    }
