"""The second half of a model trained on cached activations; every epoch is kept before the next one begins."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout

from pipeline.core import handover, provenance
from pipeline.core.errors import StageError
from pipeline.core.files import write_aside
from pipeline.core.handover import Hex
from pipeline.core.progress import Console
from pipeline.embed.finetune.halves import Rest
from pipeline.embed.finetune.weights import Epoch
from pipeline.metrics.selection import micro_ap

if TYPE_CHECKING:
    from pipeline.settings.sections import FinetuneSettings

BATCH = 64  # images a step
CLASSIFIER_RATE = 10.0  # its learning rate, times the blocks': it begins with nothing
DROPOUT = 0.2  # of the vector, before the classifier
WEIGHT_DECAY = 0.01
STATE, NOTE = "state.pt", "state.json"


@dataclass(frozen=True)
class Kept:
    """What is known after an epoch: all epochs so far, and the digest of the file with the state."""

    state: Hex
    epochs: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True)
class Split:
    """Readable images of one split.

    Attributes:
        activations: float16 [all, views, f].
        rows: of the activations, integer [m].
        labels: float32 [m, c].
    """

    activations: np.ndarray
    rows: np.ndarray
    labels: Tensor

    def batch(self, chosen: Tensor, view: Tensor) -> Tensor:
        """Activations of some of the m images, a view of each: float32 [b, f]."""
        return torch.from_numpy(self.activations[self.rows[chosen.numpy()], view.numpy()]).float()


class Fit:
    """A model's second half with a classifier behind it, on its way through the epochs.

    Args:
        rest: what is trained; its parameters are those of the model.
        train: images with all their views.
        validation: images with stage one's view.
        settings: rate, epochs and the like.
        seed: of the classifier's start, the order of images, and dropout.
        work: a folder in which the state of each epoch is kept.
    """

    def __init__(
        self, rest: Rest, train: Split, validation: Split, *, settings: "FinetuneSettings", seed: int, work: Path
    ):
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._rest = rest.to(self._device)
        self._train, self._validation, self._settings, self._seed, self._work = train, validation, settings, seed, work
        torch.manual_seed(seed)
        with torch.no_grad():
            dim = rest(train.batch(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)).to(self._device))
        self._classifier = nn.Linear(dim.shape[1], train.labels.shape[1]).to(self._device)
        rate, steps = settings.learning_rate, -(-len(train.labels) // BATCH)
        groups: list[dict[str, Any]] = [
            {"params": list(rest.trained().values()), "lr": rate},
            {"params": list(self._classifier.parameters()), "lr": rate * CLASSIFIER_RATE},
        ]
        self._optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        peaks = [group["lr"] for group in groups]
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, peaks, total_steps=steps * settings.epochs, cycle_momentum=False
        )
        self._epochs: list[Epoch] = []
        self._best: dict[str, Tensor] = {}

    def run(self, console: Console) -> list[Epoch]:
        """Trains to the end, or until no epoch gets better, and leaves the best one's parameters in the model.

        Raises:
            StageError: when the loss, or a score, is not finite.
        """
        if self._restore():
            console.say(f"finetune: goes on after epoch {len(self._epochs)}")
        while len(self._epochs) < self._settings.epochs and not self._is_exhausted():
            epoch = Epoch(len(self._epochs) + 1, self._train_epoch(console), self._score())
            self._epochs.append(epoch)
            if epoch is max(self._epochs, key=lambda one: one.micro_ap):
                self._best = {name: tensor.detach().cpu().clone() for name, tensor in self._rest.trained().items()}
            self._keep()
            console.say(
                f"finetune: epoch {epoch.epoch} of {self._settings.epochs}, loss {epoch.loss:.4f}, "
                f"micro AP of single validation images {epoch.micro_ap:.4f}"
            )
        with torch.no_grad():
            for name, parameter in self._rest.trained().items():
                parameter.copy_(self._best[name])
        return self._epochs

    def _is_exhausted(self) -> bool:
        behind = (
            len(self._epochs) - 1 - max(range(len(self._epochs)), key=lambda i: self._epochs[i].micro_ap, default=0)
        )
        return bool(self._epochs) and behind >= self._settings.patience

    def _train_epoch(self, console: Console) -> float:
        """One epoch; the mean loss. Its order, views and dropout follow from the seed and its number alone."""
        number, count = len(self._epochs), len(self._train.labels)
        torch.manual_seed(self._seed * 10_007 + number + 1)
        order, total = torch.randperm(count), 0.0
        with console.progress(f"finetune: epoch {number + 1}", count, "images") as progress:
            for rows in order.split(BATCH):
                view = (rows + number) % self._train.activations.shape[1]  # every view of an image in turn
                vectors = self._rest(self._train.batch(rows, view).to(self._device))
                logits = self._classifier(dropout(vectors, DROPOUT))
                loss = binary_cross_entropy_with_logits(logits, self._train.labels[rows].to(self._device))
                if not torch.isfinite(loss):
                    raise StageError("finetune: the loss is not finite: set a lower finetune.learning_rate")
                self._optimiser.zero_grad()
                loss.backward()
                self._optimiser.step()
                self._schedule.step()
                total += loss.item() * len(rows)
                progress.add(len(rows))
        return total / count

    def _score(self) -> float:
        """Micro average precision of the classifier on single validation images."""
        parts = []
        with torch.inference_mode():
            for rows in torch.arange(len(self._validation.labels)).split(BATCH):
                vectors = self._rest(self._validation.batch(rows, torch.zeros_like(rows)).to(self._device))
                parts.append(self._classifier(vectors).sigmoid().cpu().numpy())
        scores = np.concatenate(parts)
        if not np.isfinite(scores).all():
            raise StageError("finetune: a score is not finite: set a lower finetune.learning_rate")
        return float(micro_ap(scores, self._validation.labels.numpy() > 0, np.ones((1, len(scores)), np.float32))[0])

    def _keep(self) -> None:
        """Writes down everything that the next epoch begins with; first the state, then the note that speaks of it."""
        out = io.BytesIO()
        trained = {name: parameter.detach() for name, parameter in self._rest.trained().items()}
        parts = {"trained": trained, "best": self._best, "classifier": self._classifier.state_dict()}
        torch.save({**parts, "optimiser": self._optimiser.state_dict(), "schedule": self._schedule.state_dict()}, out)
        with write_aside(self._work / STATE) as aside:
            aside.write_bytes(out.getvalue())
        digest = provenance.digest(out.getvalue()).hex()
        handover.write_record(self._work / NOTE, asdict(Kept(digest, self._epochs)))

    def _restore(self) -> bool:
        """Goes back to the state after the last epoch that was kept; False where there is none, or half of one."""
        try:
            kept = handover.read_record(self._work / NOTE, Kept, again="")
            data = (self._work / STATE).read_bytes()
        except (StageError, OSError):
            return False
        if provenance.digest(data).hex() != kept.state:
            return False
        state = torch.load(io.BytesIO(data), map_location=self._device, weights_only=True)
        with torch.no_grad():
            for name, parameter in self._rest.trained().items():
                parameter.copy_(state["trained"][name])
        self._classifier.load_state_dict(state["classifier"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._best, self._epochs = {name: tensor.cpu() for name, tensor in state["best"].items()}, kept.epochs
        return True
