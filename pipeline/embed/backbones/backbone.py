"""What a backbone is, and the record that spares loading it to find out."""

import importlib.metadata
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import provenance
from pipeline.core.errors import WeightsError
from pipeline.embed.backbones import models
from pipeline.embed.backbones import weights as files
from pipeline.embed.backbones.models import Preprocessing

if TYPE_CHECKING:
    from torch import nn

RECORD_FIELDS = {"made_from", "weights_file", "weights_digest", "fingerprint", "parameters"}


@dataclass(frozen=True)
class Backbone:
    """A frozen model that turns pixels into vectors.

    Attributes:
        fingerprint: JSON values that say what its vectors are: never the batch size, the device or the time.
        parameters: how many parameters it has, without a classifier.
        load: builds the model.
    """

    fingerprint: dict
    parameters: int
    load: "Callable[[], nn.Module]"

    @cached_property
    def model(self) -> "nn.Module":
        """float32 images [b, 3, size, size], normalised, to float32 [b, d]; in evaluation mode. Loaded at first use."""
        return self.load()

    @property
    def preprocessing(self) -> Preprocessing:
        """What its images go through."""
        values = self.fingerprint["preprocessing"]
        return Preprocessing(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    @property
    def dim(self) -> int:
        """d, as a run of the model showed it."""
        return self.fingerprint["dim"]


def open_backbone(model: str, weights: str, record: Path | None = None) -> Backbone:
    """A timm model without its classifier, with pretrained weights; loaded only where its record does not tell enough.

    Args:
        model: timm's name, with the tag (`model.tag`) where the weights come from the hub.
        weights: "package:NAME", "hub", or the path of a .safetensors or .pth file.
        record: a JSON file in which the fingerprint is kept; None: the model is loaded.

    Raises:
        SettingsError: when timm has no such model, or its preprocessing is not a centred square.
        WeightsError: when the weights are missing, out of reach, or of other shapes.
    """
    made_from = {
        "model": model,
        "weights": weights,
        "timm": importlib.metadata.version("timm"),
        "code": [_digest(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
    }
    if record and (known := _recall(record, made_from)):
        return Backbone(known["fingerprint"], known["parameters"], lambda: models.load(model, weights)[0])
    net, file = models.load(model, weights)
    fingerprint, parameters = models.describe(net, model.partition(".")[0])
    if record and file:
        content = {"made_from": made_from, "weights_file": str(file), "weights_digest": _digest(file)}
        _keep(record, {**content, "fingerprint": fingerprint, "parameters": parameters})
    return Backbone(fingerprint, parameters, lambda: net)


def open_random(model: str, seed: int = 0) -> Backbone:
    """As `open_backbone`, with weights drawn at random: for speed, which does not depend on them.

    Args:
        model: timm's name; a tag gives the preprocessing alone.
        seed: of the weights; the same seed gives the same weights, in every process.

    Raises:
        SettingsError: when the preprocessing is not a centred square.
    """
    import torch

    timm = models.import_timm()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = timm.create_model(model, pretrained=False, num_classes=0).eval().requires_grad_(False)
    fingerprint, parameters = models.describe(net, model.partition(".")[0])
    return Backbone(fingerprint, parameters, lambda: net)


def _recall(record: Path, made_from: dict) -> dict | None:
    """What a record says, where it was made from the same and the weights file is still the same."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        if set(known) != RECORD_FIELDS or known["made_from"] != made_from:
            return None
        weights = made_from["weights"]
        file = Path(known["weights_file"]) if weights == "hub" else files.find(weights)
        return known if _digest(file) == known["weights_digest"] else None
    except (OSError, ValueError, TypeError, WeightsError):
        return None


def _keep(record: Path, content: dict) -> None:
    """Writes a record; several processes may do so at a time, and write the same."""
    record.parent.mkdir(parents=True, exist_ok=True)
    aside = record.with_name(f".{record.name}.{os.getpid()}")
    aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, record)


def _digest(path: Path) -> str:
    return provenance.digest(path.read_bytes()).hex()
