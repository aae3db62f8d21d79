"""Fits heads on cached vectors. Every head gets the same number of runs, epochs and learning rates.

Loss: binary cross-entropy with positives weighted, mean over sets and labels. The first seed tries every learning rate;
the other seeds run at the best one. What is chosen (the epoch, the learning rate, the threshold) is chosen on
validation; the test split is not read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import joblib
import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import batches, metrics
from pipeline.heads import HeadSpec, build_head
from pipeline.heads.classifier import SetClassifier
from pipeline.optimiser import OneCycleAdamW
from pipeline.progress import Progress

if TYPE_CHECKING:
    from pipeline.params import TrainSettings


@dataclass(frozen=True)
class Fit:
    """One training run.

    Attributes:
        seed: of the parameters' start and of the batches' order.
        learning_rate: the peak of its cycle.
        head: with the best epoch's parameters.
        epoch: the best one, by micro average precision on validation.
        micro_ap: there.
        threshold: of the probability, with the highest micro-F1 on validation.
        history: one row an epoch.
    """

    seed: int
    learning_rate: float
    head: SetClassifier
    epoch: int
    micro_ap: float
    threshold: float
    history: list[dict]


@dataclass(frozen=True)
class Tuned:
    """A head after tuning.

    Attributes:
        fits: one a seed, at the learning rate that was chosen; their heads take vectors as they come.
        tried: the first seed's, one a learning rate.
    """

    fits: list[Fit]
    tried: list[Fit]

    @property
    def runs(self) -> int:
        """How many runs were made."""
        return len(self.tried) + len(self.fits) - 1

    def history(self) -> pl.DataFrame:
        """Every epoch of every run."""
        return pl.DataFrame([row for fit in [*self.tried, *self.fits[1:]] for row in fit.history])


def tune(spec: HeadSpec, data: batches.SetData, validation: batches.SetData, settings: "TrainSettings") -> Tuned:
    """Trains a head: the first seed at every learning rate, the others at the one that validation prefers.

    Args:
        spec: the head.
        data: the training sets, vectors as they come.
        validation: the sets on which epochs, learning rate and threshold are chosen.
        settings: the budget, the same for every head.
    """
    mean, std = data.moments()
    if spec.standardised:
        data, validation = data.standardised(mean, std), validation.standardised(mean, std)
    first, *others = settings.seeds
    torch.set_num_threads(1)  # a run is one thread's work, so that its result knows nothing of the cores
    tried = _fit_all(spec, data, validation, [(first, rate) for rate in settings.learning_rates], settings)
    best = max(tried, key=lambda fit: fit.micro_ap)
    fits = [best, *_fit_all(spec, data, validation, [(seed, best.learning_rate) for seed in others], settings)]
    if spec.standardised:
        for fit in fits:
            fit.head.standardise(mean, std)
    return Tuned(fits, tried)


def _fit_all(
    spec: HeadSpec,
    data: batches.SetData,
    validation: batches.SetData,
    pairs: list[tuple[int, float]],
    settings: "TrainSettings",
) -> list[Fit]:
    """One run for each seed and learning rate, side by side, in the order given."""
    heads = [_start(spec, data, seed) for seed, _ in pairs]
    tasks = (joblib.delayed(fit)(head, data, validation, *pair, settings) for head, pair in zip(heads, pairs))
    with Progress("train", len(pairs), "runs") as progress:
        fits = []
        for result in joblib.Parallel(joblib.cpu_count(), backend="threading", return_as="generator")(tasks):
            fits.append(result)
            progress.add()
    return fits


def _start(spec: HeadSpec, data: batches.SetData, seed: int) -> SetClassifier:
    """A head at its seeded start, for vectors that are standardised already."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_head(spec, data.vectors.shape[1], data.y.shape[1])


def fit(
    head: SetClassifier,
    data: batches.SetData,
    validation: batches.SetData,
    seed: int,
    learning_rate: float,
    settings: "TrainSettings",
) -> Fit:
    """Trains one head until its epochs are over or validation has not improved for `patience` of them."""
    steps = settings.max_epochs * -(-len(data) // settings.batch_size)
    optimiser = OneCycleAdamW(head.parameters(), learning_rate, steps, settings.weight_decay)
    order = torch.Generator().manual_seed(seed)
    truth, once = validation.truth(), np.ones((1, len(validation)), np.float32)
    best, state, history = (0, -1.0), {}, []
    for epoch in range(1, settings.max_epochs + 1):
        shuffled = torch.randperm(len(data), generator=order).split(settings.batch_size)
        loss = _epoch(head, data, shuffled, optimiser, settings.positive_weight)
        micro_ap = float(metrics.micro_ap(batches.scores(head, validation), truth, once)[0])
        run = {"seed": seed, "learning_rate": learning_rate}
        history.append({**run, "epoch": epoch, "loss": loss, "micro_ap": micro_ap})
        if micro_ap > best[1]:
            best = (epoch, micro_ap)
            state = {name: tensor.clone() for name, tensor in head.state_dict().items()}
        elif epoch - best[0] >= settings.patience:
            break
    head.load_state_dict(state)
    threshold = metrics.best_threshold(batches.scores(head, validation), truth)
    return Fit(seed, learning_rate, head, *best, threshold, history)


def _epoch(
    head: SetClassifier,
    data: batches.SetData,
    parts: Iterable[Tensor],
    optimiser: OneCycleAdamW,
    positive_weight: float,
) -> float:
    """One pass over the training sets, in parts of them, int64 [b] each: the mean loss of these."""
    head.train()
    losses, weight = [], torch.tensor(positive_weight)
    for part in parts:
        logits = head.logits_of_rows(data.vectors, data.rows[part], data.mask[part])
        loss = F.binary_cross_entropy_with_logits(logits, data.y[part], pos_weight=weight)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())
