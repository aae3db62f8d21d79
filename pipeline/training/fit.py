"""One training run: a head from its seeded start to its best epoch.

Loss: binary cross-entropy with positives weighted, mean over sets and labels. The epoch and the threshold are chosen
on validation; the test split is not read here.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.errors import StageError
from pipeline.core.progress import Counter
from pipeline.heads.classifier import SetClassifier
from pipeline.metrics import selection
from pipeline.training.dataset import Dataset, scores
from pipeline.training.optimiser import OneCycleAdamW

if TYPE_CHECKING:
    from pipeline.settings.sections import TrainSettings


@dataclass(frozen=True)
class Data:
    """What a head is trained with.

    Attributes:
        train: the training sets.
        validation: the sets on which epochs, learning rate and threshold are chosen.
    """

    train: Dataset
    validation: Dataset


@dataclass(frozen=True)
class Trial:
    """What validation chooses among.

    Attributes:
        learning_rate: the peak of the cycle.
        dropout: share of the numbers that are left out.
        cycle: epochs in which the learning rate rises and falls to nothing.
    """

    learning_rate: float
    dropout: float
    cycle: int


@dataclass(frozen=True)
class Start:
    """Where a training run begins.

    Attributes:
        seed: of the parameters' start and of the batches' order.
        trial: what it is trained with.
    """

    seed: int
    trial: Trial


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run.

    Attributes:
        start: its seed and what it is trained with.
        head: with the best epoch's parameters.
        epoch: the best one, by micro average precision on validation; counted from 1.
        micro_ap: of validation, at that epoch.
        threshold: of the probability, with the highest micro-F1 on validation.
        history: one row an epoch: seed, the trial, epoch, loss (mean over the training batches), micro_ap.
    """

    start: Start
    head: SetClassifier
    epoch: int
    micro_ap: float
    threshold: float
    history: list[dict]


@dataclass(frozen=True)
class Watch:
    """What looks at runs while they are made; none of it decides what they become.

    Attributes:
        progress: counts epochs.
        stop: set when no run is to go on.
    """

    progress: Counter = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)


class Stopped(Exception):
    """A run was told to stop."""


@dataclass(frozen=True)
class _Epoch:
    """The best epoch so far: its number, its micro average precision, the head's state, and its scores."""

    number: int
    micro_ap: float
    state: dict[str, Tensor]
    scores: np.ndarray


def fit(head: SetClassifier, data: Data, start: Start, *, settings: "TrainSettings", watch: Watch) -> Run:
    """Trains one head until its cycle is over or validation has not improved for `patience` epochs.

    Raises:
        StageError: when a loss or a score is not finite.
        Stopped: when it is told so.
    """
    train, validation, trial = data.train, data.validation, start.trial
    steps = trial.cycle * -(-len(train) // settings.batch_size)
    optimiser = OneCycleAdamW(
        head.parameters(), peak=trial.learning_rate, steps=steps, weight_decay=settings.weight_decay
    )
    order = torch.Generator().manual_seed(start.seed)
    truth, once = validation.truth(), np.ones((1, len(validation)), np.float32)
    best, history = _Epoch(0, -1.0, {}, np.empty(0)), []
    for epoch in range(1, trial.cycle + 1):
        shuffled = torch.randperm(len(train), generator=order).split(settings.batch_size)
        loss = _epoch(
            head, train, _until(watch.stop, shuffled), optimiser=optimiser, positive_weight=settings.positive_weight
        )
        if not math.isfinite(loss):
            where = f"epoch {epoch} of seed {start.seed} at learning rate {trial.learning_rate:g}"
            raise StageError(f"the loss is not finite in {where}: take it out of train.learning_rates, or lower it")
        probabilities = scores(head, validation)
        micro_ap = float(selection.micro_ap(probabilities, truth, once)[0])
        history.append({"seed": start.seed, **asdict(trial), "epoch": epoch, "loss": loss, "micro_ap": micro_ap})
        watch.progress.add()
        if micro_ap > best.micro_ap:
            state = {name: tensor.clone() for name, tensor in head.state_dict().items()}
            best = _Epoch(epoch, micro_ap, state, probabilities)
        elif epoch - best.number >= settings.patience:
            watch.progress.expect_fewer(trial.cycle - epoch)
            break
    head.load_state_dict(best.state)
    threshold = selection.best_threshold(best.scores, truth)
    return Run(start=start, head=head, epoch=best.number, micro_ap=best.micro_ap, threshold=threshold, history=history)


def _until(stop: threading.Event, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The batches, as long as no one says stop."""
    for batch in batches:
        if stop.is_set():
            raise Stopped
        yield batch


def _epoch(
    head: SetClassifier,
    train: Dataset,
    batches: Iterable[Tensor],
    *,
    optimiser: OneCycleAdamW,
    positive_weight: float,
) -> float:
    """One pass over the training sets, in batches of their positions, int64 [b] each: the batches' mean loss."""
    head.train()
    losses, weight = [], torch.tensor(positive_weight)
    for sets in batches:
        logits = head.logits_of_rows(*train.vectors.table(train.rows[sets]), train.mask[sets])
        loss = F.binary_cross_entropy_with_logits(logits, train.y[sets], pos_weight=weight)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())
