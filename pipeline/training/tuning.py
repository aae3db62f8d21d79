"""Fits heads on cached vectors. Every head gets the same number of runs, epochs and learning rates.

Loss: binary cross-entropy with positives weighted, mean over sets and labels. The first seed tries every learning rate;
the other seeds run at the best one. What is chosen (the epoch, the learning rate, the threshold) is chosen on
validation; the test split is not read here.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import joblib
import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.core.errors import StageError
from pipeline.core.progress import Progress
from pipeline.heads.classifier import SetClassifier, build_head
from pipeline.heads.spec import HeadSpec
from pipeline.metrics import selection
from pipeline.training.dataset import Dataset, scores
from pipeline.training.optimiser import OneCycleAdamW

if TYPE_CHECKING:
    from pipeline.settings import TrainSettings


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
class Start:
    """Where a training run begins.

    Attributes:
        seed: of the parameters' start and of the batches' order.
        learning_rate: the peak of its cycle.
    """

    seed: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run.

    Attributes:
        start: its seed and learning rate.
        head: with the best epoch's parameters.
        epoch: the best one, by micro average precision on validation; counted from 1.
        micro_ap: of validation, at that epoch.
        threshold: of the probability, with the highest micro-F1 on validation.
        history: one row an epoch: seed, learning_rate, epoch, loss (mean over the training batches), micro_ap.
    """

    start: Start
    head: SetClassifier
    epoch: int
    micro_ap: float
    threshold: float
    history: list[dict]


@dataclass(frozen=True)
class Tuned:
    """A head after tuning.

    Attributes:
        kept: one run a seed, at the learning rate that was chosen; their heads take vectors as they come.
        tried: the first seed's, one a learning rate.
    """

    kept: list[Run]
    tried: list[Run]

    @property
    def runs(self) -> list[Run]:
        """All runs that were made."""
        return [*self.tried, *self.kept[1:]]

    def history(self) -> pl.DataFrame:
        """Every epoch of every run."""
        return pl.DataFrame([row for run in self.runs for row in run.history])


def tune(spec: HeadSpec, data: Data, settings: "TrainSettings") -> Tuned:
    """Trains a head: the first seed at every learning rate, the others at the one that validation prefers.

    Args:
        spec: the head.
        data: the sets, vectors as they come.
        settings: the budget, the same for every head.

    Raises:
        StageError: when a loss or a score is not finite.
    """
    mean, std = data.train.moments()
    if spec.standardised:
        data = Data(data.train.standardised(mean, std), data.validation.standardised(mean, std))
    first, *others = settings.seeds
    torch.set_num_threads(1)  # a run is one thread's work, so that its result knows nothing of the cores
    tried = _run_all(spec, data, [Start(first, rate) for rate in settings.learning_rates], settings=settings)
    best = max(tried, key=lambda run: run.micro_ap)
    starts = [Start(seed, best.start.learning_rate) for seed in others]
    kept = [best, *_run_all(spec, data, starts, settings=settings)]
    if spec.standardised:
        for run in kept:
            run.head.standardise(mean, std)
    return Tuned(kept, tried)


def _run_all(spec: HeadSpec, data: Data, starts: list[Start], *, settings: "TrainSettings") -> list[Run]:
    """A run from each start, side by side, in the order given."""
    heads = [_untrained(spec, data.train, start.seed) for start in starts]
    tasks = (
        joblib.delayed(fit)(head, data, start, settings=settings) for head, start in zip(heads, starts, strict=True)
    )
    with Progress("train", len(starts), "runs") as progress:
        runs = []
        for run in joblib.Parallel(joblib.cpu_count(), backend="threading", return_as="generator")(tasks):
            runs.append(run)
            progress.add()
    return runs


def _untrained(spec: HeadSpec, train: Dataset, seed: int) -> SetClassifier:
    """A head at its seeded start, for vectors that are standardised already."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_head(spec, train.vectors.shape[1], train.y.shape[1])


@dataclass(frozen=True)
class _Epoch:
    """The best epoch so far: its number, its micro average precision, the head's state, and its scores."""

    number: int
    micro_ap: float
    state: dict[str, Tensor]
    scores: np.ndarray


def fit(head: SetClassifier, data: Data, start: Start, *, settings: "TrainSettings") -> Run:
    """Trains one head until its epochs are over or validation has not improved for `patience` of them."""
    train, validation = data.train, data.validation
    steps = settings.max_epochs * -(-len(train) // settings.batch_size)
    optimiser = OneCycleAdamW(
        head.parameters(), peak=start.learning_rate, steps=steps, weight_decay=settings.weight_decay
    )
    order = torch.Generator().manual_seed(start.seed)
    truth, once = validation.truth(), np.ones((1, len(validation)), np.float32)
    best, history = _Epoch(0, -1.0, {}, np.empty(0)), []
    for epoch in range(1, settings.max_epochs + 1):
        shuffled = torch.randperm(len(train), generator=order).split(settings.batch_size)
        loss = _epoch(head, train, shuffled, optimiser=optimiser, positive_weight=settings.positive_weight)
        if not math.isfinite(loss):
            raise StageError(
                f"the loss is not finite in epoch {epoch} of seed {start.seed} at learning rate "
                f"{start.learning_rate:g}: take it out of train.learning_rates, or lower it"
            )
        probabilities = scores(head, validation)
        micro_ap = float(selection.micro_ap(probabilities, truth, once)[0])
        history.append({**asdict(start), "epoch": epoch, "loss": loss, "micro_ap": micro_ap})
        if micro_ap > best.micro_ap:
            state = {name: tensor.clone() for name, tensor in head.state_dict().items()}
            best = _Epoch(epoch, micro_ap, state, probabilities)
        elif epoch - best.number >= settings.patience:
            break
    head.load_state_dict(best.state)
    return Run(
        start=start,
        head=head,
        epoch=best.number,
        micro_ap=best.micro_ap,
        threshold=selection.best_threshold(best.scores, truth),
        history=history,
    )


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
        logits = head.logits_of_rows(train.vectors, train.rows[sets], train.mask[sets])
        loss = F.binary_cross_entropy_with_logits(logits, train.y[sets], pos_weight=weight)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())
