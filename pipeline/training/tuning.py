"""Tunes heads on cached vectors, by the same rule for every head.

The first seed tries learning rates, dropouts and cycles; the other seeds run with what did best. All that is chosen is
chosen on validation; the test split is not read here.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import joblib
import polars as pl
import torch

from pipeline.core.progress import Progress
from pipeline.heads.classifier import SetClassifier, build_head
from pipeline.heads.spec import HeadSpec
from pipeline.training.dataset import Dataset
from pipeline.training.fit import Data, Run, Start, Trial, Watch, fit
from pipeline.training.kept_runs import NOT_KEPT, Finished, KeptRuns

if TYPE_CHECKING:
    from pipeline.settings.sections import TrainSettings

OF_A_RUN = {"batch_size", "patience", "positive_weight", "weight_decay"}  # settings that decide what a run becomes


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


def tune(
    spec: HeadSpec, data: Data, settings: "TrainSettings", *, name: str = "train", kept: KeptRuns = NOT_KEPT
) -> Tuned:
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
        name: of the work, for its progress.
        kept: finished runs of the same work, which are not made again.

    Raises:
        StageError: when a loss or a score is not finite.
    """
    settings = within_most_steps(settings, sets=len(data.train))
    made_from = {"spec": spec.model_dump(), "training": settings.model_dump(include=OF_A_RUN)}
    key = kept.key(made_from, data.train, data.validation)
    mean, std = data.train.moments
    if spec.standardised:
        data = Data(data.train.standardised(mean, std), data.validation.standardised(mean, std))
    torch.set_num_threads(1)  # a run is one thread's work, so that its result knows nothing of the cores
    with Progress(name, most_epochs(spec, settings), "epochs") as progress:
        tuned = Tuner(spec, data, settings, kept=kept, key=key, watch=Watch(progress)).tune()
    if spec.standardised:
        for run in tuned.kept:
            run.head.standardise(mean, std)
    return tuned


def within_most_steps(settings: "TrainSettings", *, sets: int) -> "TrainSettings":
    """The settings for so many training sets: no cycle has more than `most_steps` steps, or one epoch.

    Of many sets, fewer epochs are enough: what a head learns from depends on how often its parameters move, too.
    """
    longest = max(1, settings.most_steps // -(-sets // settings.batch_size))
    if longest >= settings.cycles[-1]:
        return settings
    shortened = {max(1, round(cycle * longest / settings.cycles[-1])) for cycle in settings.cycles}
    return settings.model_copy(update={"cycles": sorted(shortened)})


def most_epochs(spec: HeadSpec, settings: "TrainSettings") -> int:
    """How many epochs tuning a head takes at most: where no run stops early, and the longest cycle is the best."""
    rates, total = len(settings.learning_rates), 0
    for cycle in settings.cycles:
        total += len(_dropouts(spec, settings)) * rates * cycle
        rates = -(-rates // 2)
    return total + (len(settings.seeds) - 1) * settings.cycles[-1]


def _better_half(runs: list[Run], dropout: float) -> list[float]:
    """The better half of the learning rates that were tried with one dropout, the best one first."""
    tried = sorted((run for run in runs if run.start.trial.dropout == dropout), key=lambda run: -run.micro_ap)
    return [run.start.trial.learning_rate for run in tried[: -(-len(tried) // 2)]]


def _dropouts(spec: HeadSpec, settings: "TrainSettings") -> list[float]:
    """What is tried of it: what the head has, or all of the settings'."""
    return settings.dropouts if spec.tune_dropout else [spec.dropout]


class Tuner:
    """Tuning of one head, as `tune` says, on vectors that are standardised already."""

    def __init__(
        self, spec: HeadSpec, data: Data, settings: "TrainSettings", *, kept: KeptRuns, key: str, watch: Watch
    ):
        self._spec, self._data, self._settings = spec, data, settings
        self._kept, self._key, self._watch = kept, key, watch

    def tune(self) -> Tuned:
        """Makes the runs."""
        settings = self._settings
        first, *others = settings.seeds
        tried: list[Run] = []
        candidates = dict.fromkeys(_dropouts(self._spec, settings), settings.learning_rates)
        for cycle in settings.cycles:
            trials = [Trial(rate, dropout, cycle) for dropout, rates in candidates.items() for rate in rates]
            runs = self._run_all([Start(first, trial) for trial in trials])
            tried += runs
            candidates = {dropout: _better_half(runs, dropout) for dropout in candidates}
        best = max(tried, key=lambda run: run.micro_ap)  # of equals the one with the shorter cycle
        self._watch.progress.expect_fewer(len(others) * (settings.cycles[-1] - best.start.trial.cycle))
        return Tuned([best, *self._run_all([Start(seed, best.start.trial) for seed in others])], tried)

    def _run_all(self, starts: list[Start]) -> list[Run]:
        """A run from each start, side by side, in the order given; those that are kept are not made again."""
        runs = {start: run for start in starts if (run := self._kept_run(start))}
        heads = {start: _untrained(self._spec, self._data.train, start) for start in starts if start not in runs}
        with _side_by_side(self._watch) as pool:
            making = [
                pool.submit(fit, head, self._data, start, settings=self._settings, watch=self._watch)
                for start, head in heads.items()
            ]
            for future in as_completed(making):
                run = future.result()
                runs[run.start] = run
                finished = Finished(run.epoch, run.micro_ap, run.threshold, run.history)
                self._kept.keep(self._key, asdict(run.start), finished, state=run.head.state_dict())
        return [runs[start] for start in starts]

    def _kept_run(self, start: Start) -> Run | None:
        """A run that is kept, as it was made."""
        if (found := self._kept.find(self._key, asdict(start))) is None:
            return None
        finished, state = found
        head = _untrained(self._spec, self._data.train, start)
        head.load_state_dict(state)
        self._watch.progress.add(len(finished.history))
        self._watch.progress.expect_fewer(start.trial.cycle - len(finished.history))
        values = {name: getattr(finished, name) for name in ("epoch", "micro_ap", "threshold", "history")}
        return Run(start=start, head=head.eval(), **values)


@contextmanager
def _side_by_side(watch: Watch) -> Iterator[ThreadPoolExecutor]:
    """As many threads as there are cores. Whatever ends the block ends the runs too: none outlives it."""
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        try:
            yield pool
        except BaseException:
            watch.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _untrained(spec: HeadSpec, train: Dataset, start: Start) -> SetClassifier:
    """A head at its seeded start, for vectors that are standardised already."""
    with torch.random.fork_rng():
        torch.manual_seed(start.seed)
        spec = spec.model_copy(update={"dropout": start.trial.dropout})
        return build_head(spec, train.vectors.dim, train.y.shape[1])
