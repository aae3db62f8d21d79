"""Fits heads on cached vectors, by the same rule for every head.

Loss: binary cross-entropy with positives weighted, mean over sets and labels. The first seed tries learning rates,
dropouts and cycles; the other seeds run with what did best. All that is chosen, epoch and threshold too, is chosen on
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
class Tuned:
    """A head after tuning.

    Attributes:
        kept: one run a seed, with what was chosen; their heads take vectors as they come.
        tried: the first seed's, one a trial, in the order in which they were made.
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
    """Trains a head: the first seed with all that is tried, the others with what validation prefers.

    Successive halving (K. Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization", 2016): every learning rate and dropout is tried with the shortest cycle, the better half of the rates
    with the next one, and so on. Departures: rates are halved for each dropout by itself, for what dropout is good for
    shows late; each cycle begins anew, for one that has ended cannot be made longer; and what did best with a short
    cycle stays among what is chosen from, for longer training spoils some heads.

    Args:
        spec: the head; where it leaves dropout to tuning, all of `settings.dropouts` are tried.
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
    tried: list[Run] = []
    candidates = dict.fromkeys(_dropouts(spec, settings), settings.learning_rates)
    for cycle in settings.cycles:
        trials = [Trial(rate, dropout, cycle) for dropout, rates in candidates.items() for rate in rates]
        runs = _run_all(spec, data, [Start(first, trial) for trial in trials], settings=settings)
        tried += runs
        candidates = {dropout: _better_half(runs, dropout) for dropout in candidates}
    best = max(tried, key=lambda run: run.micro_ap)  # of equals the one with the shorter cycle
    kept = [best, *_run_all(spec, data, [Start(seed, best.start.trial) for seed in others], settings=settings)]
    if spec.standardised:
        for run in kept:
            run.head.standardise(mean, std)
    return Tuned(kept, tried)


def _better_half(runs: list[Run], dropout: float) -> list[float]:
    """The better half of the learning rates that were tried with one dropout, the best one first."""
    tried = sorted((run for run in runs if run.start.trial.dropout == dropout), key=lambda run: -run.micro_ap)
    return [run.start.trial.learning_rate for run in tried[: -(-len(tried) // 2)]]


def _dropouts(spec: HeadSpec, settings: "TrainSettings") -> list[float]:
    """What is tried of it: what the head has, or all of the settings'."""
    return settings.dropouts if spec.tune_dropout else [spec.dropout]


def _run_all(spec: HeadSpec, data: Data, starts: list[Start], *, settings: "TrainSettings") -> list[Run]:
    """A run from each start, side by side, in the order given."""
    heads = [_untrained(spec, data.train, start) for start in starts]
    tasks = (
        joblib.delayed(fit)(head, data, start, settings=settings) for head, start in zip(heads, starts, strict=True)
    )
    with Progress("train", len(starts), "runs") as progress:
        runs = []
        for run in joblib.Parallel(joblib.cpu_count(), backend="threading", return_as="generator")(tasks):
            runs.append(run)
            progress.add()
    return runs


def _untrained(spec: HeadSpec, train: Dataset, start: Start) -> SetClassifier:
    """A head at its seeded start, for vectors that are standardised already."""
    with torch.random.fork_rng():
        torch.manual_seed(start.seed)
        spec = spec.model_copy(update={"dropout": start.trial.dropout})
        return build_head(spec, train.vectors.dim, train.y.shape[1])


@dataclass(frozen=True)
class _Epoch:
    """The best epoch so far: its number, its micro average precision, the head's state, and its scores."""

    number: int
    micro_ap: float
    state: dict[str, Tensor]
    scores: np.ndarray


def fit(head: SetClassifier, data: Data, start: Start, *, settings: "TrainSettings") -> Run:
    """Trains one head until its cycle is over or validation has not improved for `patience` epochs."""
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
        loss = _epoch(head, train, shuffled, optimiser=optimiser, positive_weight=settings.positive_weight)
        if not math.isfinite(loss):
            raise StageError(
                f"the loss is not finite in epoch {epoch} of seed {start.seed} at learning rate "
                f"{trial.learning_rate:g}: take it out of train.learning_rates, or lower it"
            )
        probabilities = scores(head, validation)
        micro_ap = float(selection.micro_ap(probabilities, truth, once)[0])
        history.append({"seed": start.seed, **asdict(trial), "epoch": epoch, "loss": loss, "micro_ap": micro_ap})
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
        logits = head.logits_of_rows(*train.vectors.table(train.rows[sets]), train.mask[sets])
        loss = F.binary_cross_entropy_with_logits(logits, train.y[sets], pos_weight=weight)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())
