"""The stage: fits a head on cached vectors and saves it."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.catalogue.labelled_sets import Sets, read_sets
from pipeline.core.failure import keeping
from pipeline.core.lock import hold
from pipeline.embeddings.store import Embeddings
from pipeline.heads.spec import HeadSpec
from pipeline.metrics.selection import best_threshold
from pipeline.project import Project
from pipeline.training import checkpoint, dataset
from pipeline.training.calibration import fit_calibration
from pipeline.training.checkpoint import Checkpoint, SeedResult, Tried
from pipeline.training.dataset import Dataset
from pipeline.training.fit import Data, Run
from pipeline.training.kept_runs import KeptRuns
from pipeline.training.tuning import Tuned, tune

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings


def train(project: Project, backbone: str, head: str, settings: "Settings") -> str:
    """Trains a head, one run a seed with what the first seed chooses, and saves it.

    One that is not compared is saved where no stage of the graph looks. Runs that are finished are kept until all are.

    Args:
        project: where everything lies.
        backbone: whose vectors.
        head: its name.
        settings: of the heads, and the budget.

    Returns:
        What was chosen, and where the head is, for people.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged; when the loss or a
            score is not finite; when another process trains the same head.
    """
    folder = project.checkpoint(backbone, head, compared=head in settings.compare.heads)
    kept = KeptRuns(project.unfinished("train", backbone, head))
    with hold(folder), keeping(kept.said):
        spec, store = settings.head(head), Embeddings(project.store(backbone))
        sets = read_sets(project.sets, project.labels)
        data = Data(train=dataset.load(sets, store, "train"), validation=dataset.load(sets, store, "validation"))
        tuned = tune(spec, data, settings.train, name=f"train {backbone} {head}", kept=kept)
        thresholds = [_calibrate(run, data.validation) for run in tuned.kept]
        trained = _checkpoint(tuned, thresholds, sets, spec=spec, store=store)
        checkpoint.save(folder, trained, [run.head.state_dict() for run in tuned.kept], history=tuned.history())
        kept.clear()
    return f"train {backbone} {head}: {_summary(trained)}: {folder}"


def _checkpoint(tuned: Tuned, thresholds: list[float], sets: Sets, *, spec: HeadSpec, store: Embeddings) -> Checkpoint:
    """What is known of the trained head."""
    tried = [Tried(**asdict(run.start.trial), epoch=run.epoch, micro_ap=round(run.micro_ap, 6)) for run in tuned.tried]
    return Checkpoint(
        spec=spec.model_dump(),
        dim=store.dim,
        labels=sets.labels,
        sets_digest=sets.digest,
        fingerprint=store.fingerprint,
        chosen=tried[tuned.tried.index(tuned.kept[0])],
        tried=tried,
        seeds=[
            SeedResult(run.start.seed, run.epoch, round(run.micro_ap, 6), threshold)
            for run, threshold in zip(tuned.kept, thresholds, strict=True)
        ],
    )


def _summary(trained: Checkpoint) -> str:
    """What validation chose, and how good that is there."""
    chosen, scores = trained.chosen, [result.micro_ap for result in trained.seeds]
    epochs = ", ".join(str(result.epoch) for result in trained.seeds)
    return (
        f"the best of {len(trained.tried)} trials is rate {chosen.learning_rate:g}, dropout {chosen.dropout:g}, "
        f"cycle {chosen.cycle} (best epochs {epochs}); micro AP on validation {sum(scores) / len(scores):.4f}, "
        f"mean of {len(scores)} seed{'s' if len(scores) > 1 else ''}"
    )


def _calibrate(run: Run, validation: Dataset) -> float:
    """Calibrates a run's head on the validation sets; returns its threshold, of the new probability."""
    truth = validation.truth()
    run.head.calibrate(*fit_calibration(dataset.logits(run.head, validation).numpy(), truth))
    return best_threshold(dataset.scores(run.head, validation), truth)
