"""Trained heads of a project as models that answer: the best one by validation, or one by its name."""

from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
import torch

from pipeline.catalogue.images import Images
from pipeline.core import handover, provenance
from pipeline.core.errors import SettingsError, StageError, StoreError
from pipeline.embed.backbones.backbone import Backbone, open_backbone
from pipeline.embed.engines.choose import open_engine
from pipeline.embed.stream import sample
from pipeline.export.predict.model import Model
from pipeline.heads.classifier import SetClassifier
from pipeline.project import Project
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoint, SeedResult

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

FROM = "_from_"  # in the name of a head whose adapter to another backbone was merged in


def best_by_validation(project: Project, settings: "Settings") -> tuple[str, str]:
    """Backbone and head, of those compared and trained, with the highest micro average precision on validation.

    The mean over seeds counts, and of equals the one that the settings list first.

    Raises:
        StageError: when none is trained, or a checkpoint is damaged.
    """
    pairs = [(backbone, head) for backbone in settings.compare.backbones for head in settings.compare.heads]
    trained = [pair for pair in pairs if handover.exists(project.checkpoint(*pair))]
    if not trained:
        raise StageError("no compared head is trained: run dvc repro, or name a model")
    return max(trained, key=lambda pair: _validation(checkpoint.read(project.checkpoint(*pair))))


def _validation(known: Checkpoint) -> float:
    return float(np.mean([result.micro_ap for result in known.seeds]))


def locate(project: Project, backbone: str, head: str, *, settings: "Settings") -> Path:
    """The checkpoint of a head that reads a backbone's vectors: compared, tried, or (HEAD_from_OLD) merged.

    Raises:
        SettingsError: when a name is not known.
        StageError: when the head is not trained, or not merged; says how to get it.
    """
    if FROM in head:
        name, _, old = head.rpartition(FROM)
        settings.require(backbone, name)
        settings.require(old)
        if not (folder := project.merged_checkpoint(old, backbone, name)).is_dir():
            raise StageError(f"{folder} holds no merged head: run visagg swap {old} {backbone}, then visagg merge")
        return folder
    settings.require(backbone, head)
    folder = project.checkpoint(backbone, head, compared=head in settings.compare.heads)
    if not folder.is_dir():
        raise StageError(f"{folder} holds no trained head: run visagg train {backbone} {head}, or dvc repro")
    return folder


def results_of(project: Project, backbone: str, head: str, *, settings: "Settings") -> Path:
    """Where the results of such a head on the test sets lie, if it was evaluated."""
    if FROM in head:
        name, _, old = head.rpartition(FROM)
        return project.merged_results(old, backbone, name)
    return project.results(backbone, head, compared=head in settings.compare.heads)


def best_seed(known: Checkpoint) -> int:
    """The position of the seed that did best on validation; of equals the first."""
    return int(np.argmax([result.micro_ap for result in known.seeds]))


class TrainedModel:
    """A trained head and its backbone, opened.

    Attributes:
        name: BACKBONE/HEAD.
        checkpoint: what is known of the head.
        seed: which of its seeds answers: the best on validation.
        head: that seed's, in evaluation mode.
        backbone: what its vectors come from.
        data: the content of description.json.
    """

    def __init__(self, project: Project, backbone: str, head: str, *, settings: "Settings"):
        """Opens them. Raises as `locate` and `open_backbone`; StoreError when the head belongs to another backbone."""
        folder = locate(project, backbone, head, settings=settings)
        trained = checkpoint.load(folder)
        declared = settings.backbone(backbone)
        opened = open_backbone(declared.model, declared.weights, project.backbone_record(backbone))
        if lines := provenance.differences(opened.fingerprint, trained.checkpoint.fingerprint):
            raise StoreError(f"{folder} was trained on other embeddings ({'; '.join(lines)}): train it again")
        position = best_seed(trained.checkpoint)
        self.name = f"{backbone}/{head}"
        self.checkpoint: Checkpoint = trained.checkpoint
        self.seed: SeedResult = trained.checkpoint.seeds[position]
        self.head: SetClassifier = trained.heads[position]
        self.backbone: Backbone = opened
        self.data = handover.read_record(project.description, dict, again="run visagg sets")
        self._images, self._settings = project.images, settings.embed

    def model(self) -> Model:
        """The model that answers: the engine is stage one's, chosen as it is there."""
        settings, crop = self._settings, self.backbone.preprocessing.crop
        engine = open_engine(
            settings.engine,
            self.backbone,
            batch_size=settings.batch_size,
            threads=settings.threads or joblib.cpu_count(),
            precision=settings.precision,
            sample=lambda: sample(Images(self._images), crop),
        )
        return Model(
            name=self.name,
            labels=self.checkpoint.labels,
            thresholds=np.full(len(self.checkpoint.labels), self.seed.threshold),
            simulated=bool(self.data["simulated"]),
            crop=crop,
            engine=engine,
            head=self.answer,
        )

    def answer(self, vectors: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors float32 [b, s, d] and mask bool [b, s] to probabilities [b, c] and weights [b, s, c]."""
        x, m = torch.from_numpy(vectors), torch.from_numpy(mask)
        with torch.inference_mode():
            return torch.sigmoid(self.head(x, m)).numpy(), self.head.importance_by_label(x, m).numpy()


def parse_name(text: str) -> tuple[str, str]:
    """Backbone and head of BACKBONE/HEAD.

    Raises:
        SettingsError: when it is not of that form.

    >>> parse_name("lite0/average")
    ('lite0', 'average')
    """
    backbone, slash, head = text.partition("/")
    if not (backbone and slash and head) or "/" in head:
        raise SettingsError(f"{text!r} is no model: name one as BACKBONE/HEAD, or the folder of an exported one")
    return backbone, head
