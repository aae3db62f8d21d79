"""The stage: fits a head on cached vectors and saves it."""

from typing import TYPE_CHECKING

from pipeline.catalogue.labelled_sets import read_sets
from pipeline.core.lock import hold
from pipeline.embeddings.store import Embeddings
from pipeline.project import Project
from pipeline.training import checkpoint, dataset
from pipeline.training.checkpoint import Checkpoint, SeedResult
from pipeline.training.tuning import Data, tune

if TYPE_CHECKING:
    from pipeline.settings import Settings


def train(project: Project, backbone: str, head: str, settings: "Settings") -> None:
    """Trains a head, one run a seed at the learning rate that the first seed chooses, and saves it.

    One that is not compared is saved where no stage of the graph looks.

    Args:
        project: where everything lies.
        backbone: whose vectors.
        head: its name.
        settings: of the heads, and the budget.

    Raises:
        StoreError, StageError: when an earlier stage's result is missing, unfinished or damaged; when the loss or a
            score is not finite; when another process trains the same head.
    """
    folder = project.checkpoint(backbone, head, compared=head in settings.compare.heads)
    with hold(folder):
        spec, store = settings.head(head), Embeddings(project.store(backbone))
        sets = read_sets(project.sets, project.labels)
        data = Data(train=dataset.load(sets, store, "train"), validation=dataset.load(sets, store, "validation"))
        tuned = tune(spec, data, settings.train)
        trained = Checkpoint(
            spec=spec.model_dump(),
            dim=store.dim,
            labels=sets.labels,
            sets_digest=sets.digest,
            fingerprint=store.fingerprint,
            learning_rate=tuned.kept[0].start.learning_rate,
            tuning={f"{run.start.learning_rate:g}": round(run.micro_ap, 6) for run in tuned.tried},
            seeds=[SeedResult(run.start.seed, run.epoch, round(run.micro_ap, 6), run.threshold) for run in tuned.kept],
        )
        checkpoint.save(folder, trained, [run.head.state_dict() for run in tuned.kept], history=tuned.history())
