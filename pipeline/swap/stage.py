"""The stage: fits adapters, chooses one on validation, and measures what heads keep with it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl

from pipeline.catalogue.labelled_sets import read_sets
from pipeline.core import handover
from pipeline.core.errors import StageError
from pipeline.core.failure import BEGINS_ANEW, keeping
from pipeline.core.lock import hold
from pipeline.core.progress import Progress
from pipeline.embeddings.store import Embeddings
from pipeline.evaluation.baseline import Popularity
from pipeline.metrics.bootstrap import sample_weights
from pipeline.metrics.selection import micro_of_seeds
from pipeline.project import Project
from pipeline.swap import adapters, answers, maps, pairs, retention
from pipeline.swap.adapters import Adapter
from pipeline.swap.answers import PairedSets
from pipeline.swap.moments import Moments
from pipeline.swap.pairs import Fitted, Stores
from pipeline.training import checkpoint, dataset
from pipeline.training.checkpoint import TrainedHead

if TYPE_CHECKING:
    from pipeline.settings.sections import EvaluateSettings
    from pipeline.settings.settings import Settings

# Least share of what a head has above the floor on validation users, for the best head with ridge. EfficientNet-Lites
# on real photos keep 0.85 with 64 pairs; random weights 0.49 with 2,932.
LEAST_KEPT = 2 / 3


def swap(project: Project, backbones: Iterable[tuple[str, str]], settings: "Settings", *, as_json: bool = False) -> str:
    """Fits adapters from new backbones to old ones, and scores the old ones' heads on what the adapters give.

    Writes the adapter that validation prefers (cache/adapters) and the metric values (cache/swap, JSON).

    Args:
        project: where everything lies.
        backbones: an old backbone and a new one each, by alias.
        settings: which heads are compared, which k, and how many resamples.
        as_json: whether the answer is for programs.

    Returns:
        Of each pair, the adapter and what heads have with it, for people; or all that was written, as JSON.

    Raises:
        StageError, StoreError: when an earlier stage's result is missing, damaged or of another catalogue; when there
            are too few pairs; when the new backbone's vectors say too little of the old one's.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from pipeline.settings.settings import load
    >>> settings = load(Path(__file__).parents[1] / "params.yaml")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     swap(Project(Path(folder)), [("lite0", "lite1")], settings)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pipeline.core.errors.StageError: ...labels.json is missing: run visagg sets, or dvc repro
    """
    for folder in (project.swaps, project.adapters):  # what the graph expects, also of an empty list
        folder.mkdir(parents=True, exist_ok=True)
    contents = []
    with hold(project.swaps, project.adapters), keeping(BEGINS_ANEW):
        for old, new in backbones:
            adapter, content = Swap.load(project, old, new, settings).run()
            adapters.save(project.adapter(old, new), adapter)
            handover.write_record(project.swap(old, new), content)
            contents.append(content)
    if as_json:
        return json.dumps(contents, indent=2, ensure_ascii=False)
    return "\n".join([retention.overview(content) for content in contents] or ["swap: no backbones are listed"])


@dataclass(frozen=True)
class Swap:
    """An old backbone with its heads, a new one, and the users.

    Attributes:
        old: the old backbone's alias.
        new: the new one's.
        stores: both stores.
        heads: those trained on the old one, by name.
        retrained: those trained on the new one.
        sets: all sets, less the images that either could not read.
        sets_digest: of all sets as they are.
        popularity: the floor.
        settings: which k, and how many resamples.
    """

    old: str
    new: str
    stores: Stores
    heads: dict[str, TrainedHead]
    retrained: dict[str, TrainedHead]
    sets: pl.DataFrame
    sets_digest: str
    popularity: Popularity
    settings: "EvaluateSettings"

    @classmethod
    def load(cls, project: Project, old: str, new: str, settings: "Settings") -> Self:
        """Reads it; Raises as `swap`."""
        labelled = read_sets(project.sets, project.labels)
        stores = Stores(Embeddings(project.store(old)), Embeddings(project.store(new)))
        for store in (stores.old, stores.new):
            store.require_images(labelled.images_digest)
        trained = {}
        for store, backbone in ((stores.old, old), (stores.new, new)):
            trained[backbone] = checkpoint.load_trained(project, backbone, settings.compare.heads)
            for head in trained[backbone].values():
                head.require(store, labelled)
        if not trained[old]:
            raise StageError(f"no head is trained on {old}: run visagg train {old} HEAD, or dvc repro")
        sets = stores.readable(labelled.frame)
        return cls(
            old=old,
            new=new,
            stores=stores,
            heads=trained[old],
            retrained=trained[new],
            sets=sets,
            sets_digest=labelled.digest,
            popularity=Popularity.of(sets, len(labelled.labels)),
            settings=settings.evaluate,
        )

    def run(self) -> tuple[Adapter, dict]:
        """The adapter that validation prefers, and the content of cache/swap/OLD/NEW.json.

        Raises:
            StageError: as `swap`.
        """
        rows = self.stores.training_rows(self.sets)
        lot = self.stores.fit(rows, maps.KINDS, name=f"adapters {self.new} to {self.old}")
        reference, refused = lot.sums.whole, lot.refused
        compared = Compared.of(self.sets, rows)
        fitted, closeness = self._adapters(lot), self._closeness(lot, compared, reference)
        del lot  # its decompositions take hundreds of megabytes
        best = self._choose(fitted)
        for size in (size for size in pairs.SIZES if size < len(rows)):
            lot = self.stores.fit(rows[:size], [best.kind], name=f"adapter from {size} pairs", reference=reference)
            fitted += self._adapters(lot)  # none where these are too few pairs for the kind
            closeness += self._closeness(lot, compared, reference)
            del lot
        sets = self._paired_sets("test", sample_weights(len(self._split("test")), self.settings.resamples))
        return best, {
            "sets_digest": self.sets_digest,
            "old": self.old,
            "new": self.new,
            "k": sets.k,
            "test_users": len(sets.old),
            "backbone_parameters": {self.old: self.stores.old.parameters, self.new: self.stores.new.parameters},
            "images": len(self.stores.new),
            "training_images": len(rows),
            "best": best.kind,
            "adapter_parameters": best.parameters(),
            "compared_on": compared.name,
            "adapters": closeness,
            "refused": refused,
            "floor": {name: retention.entry(values) for name, values in sets.floor.items()},
            "heads": self._compare(fitted, sets),
        }

    def _paired_sets(self, split: str, samples: np.ndarray) -> PairedSets:
        """One split's sets with both backbones' vectors; `samples` float32 [t, n]."""
        sets, classes = self._split(split), len(self.popularity.frequency)
        old, new = (
            dataset.gather(sets, classes, store, name=f"the {split} split")
            for store in (self.stores.old, self.stores.new)
        )
        popular, threshold = self.popularity.scores(len(old)), self.popularity.threshold
        floor = micro_of_seeds([popular], old.truth(), [threshold], weights=samples)
        return PairedSets(old, new, floor, samples, self.settings.ks[0])

    def _split(self, split: str) -> pl.DataFrame:
        return self.sets.filter(pl.col("split") == split)

    def _adapters(self, fitted: Fitted) -> list[Adapter]:
        """What was fitted, as adapters between the two backbones' vectors."""
        return [
            Adapter(
                kind=fit.kind,
                matrix=np.ascontiguousarray(fit.final.matrix, np.float32),
                offset=fit.final.offset.astype(np.float32),
                options=fit.options,
                pairs=len(fitted.rows),
                new=self.stores.new.fingerprint,
                old=self.stores.old.fingerprint,
                sets_digest=self.sets_digest,
            )
            for fit in fitted.fits.values()
        ]

    def _choose(self, fitted: list[Adapter]) -> Adapter:
        """The adapter with which the heads do best on validation, by mean micro average precision; the first is ridge.

        Raises:
            StageError: when ridge leaves every head near the floor; lighter kinds learn known images by heart.
        """
        sets = self._paired_sets("validation", np.ones((1, len(self._split("validation"))), np.float32))
        floor = sets.floor["micro_ap"].mean()

        adapted = [(self.heads, answers.adapted(sets.new, adapter)) for adapter in fitted]
        name, total = f"which adapter {self.new} to {self.old}", len(self.heads) * (1 + len(fitted))
        with Progress(name, total, "answers") as progress:
            scored = answers.answers([(self.heads, sets.old), *adapted], sets, progress)
            quality = [answer.values["micro_ap"].mean() for answer in scored]
        stay, *of_adapters = np.array(quality).reshape(1 + len(fitted), len(self.heads))
        kept = float(((of_adapters[0] - floor) / np.maximum(stay - floor, 1e-9)).max())
        if kept < LEAST_KEPT:
            raise StageError(
                f"{self.new} cannot stand in for {self.old}: adapted by {fitted[0].kind} from {fitted[0].pairs} pairs, "
                f"its heads keep at most {max(kept, 0):.0%} of what they have above popularity on validation users, "
                f"and {LEAST_KEPT:.0%} is the least; are its weights trained, and are there more images to embed?"
            )
        return fitted[int(np.argmax([values.mean() for values in of_adapters]))]

    def _compare(self, fitted: list[Adapter], sets: PairedSets) -> dict[str, dict]:
        """What each head keeps, by name in order."""
        heads, compared = {name: self.heads[name] for name in sorted(self.heads)}, dict[str, dict]()
        total = len(heads) * (1 + sets.same_dim + len(fitted)) + len(self.retrained.keys() & heads.keys())
        with Progress(f"swap {self.old} {self.new}", total, "answers") as progress:
            for part in answers.in_parts(heads, sets):
                compared |= retention.compare(part, sets, fitted, retrained=self.retrained, progress=progress)
        return compared

    def _closeness(self, lot: Fitted, compared: "Compared", reference: Moments) -> list[dict]:
        """How close each map comes to the old vectors, on images that it was not fitted on.

        Args:
            lot: what was fitted.
            compared: on which images.
            reference: sums over all training pairs.
        """
        images, rows = compared.images(lot), []
        samples = sample_weights(len(images), self.settings.resamples)
        old, new = self.stores.old.read(images), self.stores.new.read(images)
        for fit in lot.fits.values():
            mapped = (fit.trial if compared.is_held_out else fit.final).apply(new)
            close = pairs.closeness(old, mapped, reference)
            means = {name: retention.sample_means(values, samples) for name, values in close.items()}
            rows.append(
                {
                    "adapter": fit.kind,
                    "pairs": len(lot.rows),
                    "images": len(images),
                    **fit.options,
                    "cosine": retention.entry(means["cosine"]),
                    "explained_variance": retention.entry(1 - means["error"] / means["total"]),
                }
            )
        return rows


@dataclass(frozen=True)
class Compared:
    """Images on which mapped vectors are compared with the old backbone's.

    Attributes:
        unseen: rows of test users' images that no training user has, int64 [m].
        is_held_out: whether these are too few, and the pairs held out of each lot stand in for them.
    """

    unseen: np.ndarray
    is_held_out: bool

    @classmethod
    def of(cls, sets: pl.DataFrame, rows: np.ndarray) -> Self:
        """Those of some sets, where adapters are fitted on some rows, int64 [m]."""
        unseen = np.setdiff1d(pairs.shown(sets, "test"), rows)
        return cls(unseen, len(unseen) < pairs.LEAST_PAIRS)

    @property
    def name(self) -> str:
        """What they are, for the tables."""
        return "the held-out tenth of the pairs" if self.is_held_out else "test users' images that no training user has"

    def images(self, lot: Fitted) -> np.ndarray:
        """Rows of those on which a lot is compared: int64, ascending."""
        return np.sort((lot.held_out if self.is_held_out else self.unseen)[: pairs.MOST_COMPARED])
