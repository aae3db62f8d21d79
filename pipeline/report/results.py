"""What the heads did, read from the disk into one tidy frame, with every interval and every comparison."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pipeline.core import handover
from pipeline.core.errors import StageError
from pipeline.evaluation import results as saved
from pipeline.heads.presets import IMAGE_CLASSIFIER, NEAREST_IMAGES, PRESETS, PUBLISHED
from pipeline.project import Project
from pipeline.report.records import Ablation, Conditions, Cost, Description, Swap
from pipeline.report.statistics import KEYS, Pair, comparisons, estimates, questions, samples_of

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

FLOOR = ("any", "popularity")


@dataclass(frozen=True)
class Results:
    """Everything that the tables, the plots and the page show.

    Attributes:
        backbones: those compared, in order.
        heads: likewise.
        ks: how many labels are recommended.
        values: one row a metric value: backbone, head, metric, k, by, segment, n, seeds (how many), mean, low, high.
            `by` is "all", or what divides the sets or labels (`metrics.measure.segments`), or "label"; the floor's rows
            are of backbone "any" and head "popularity".
        comparisons: one row a test: backbone, head, against, metric, k, difference, low, high, p, asked, adjusted (null
            where it is not asked), holds.
        history: one row an epoch of a kept run: backbone, head, seed, epoch, loss, micro_ap (on validation).
        training: by backbone and head, what tuning tried and chose.
        costs: one row a head: backbone, head, parameters, folded_parameters, milliseconds, folded_milliseconds,
            backbone_parameters.
        machine: where the times were measured, with the set's size; None where they were not.
        best: the best head on each backbone, by validation.
        reference: the best published head on each backbone, as published or regularised, by validation.
        average: the head that is plain averaging; None where it is not compared.
        missing: compared pairs that have no values.
        references: what knows each image's true labels, by backbone and name, where it was measured.
        merged: heads of another backbone that read this one's vectors, as (backbone, "HEAD from OLD").
        ablation: content of cache/ablation.json; None where there is none.
        conditions: content of cache/conditions.json; None where there is none.
        swaps: contents of cache/swap.
        data: content of data/description.json.
    """

    backbones: list[str]
    heads: list[str]
    ks: list[int]
    values: pl.DataFrame
    comparisons: pl.DataFrame
    history: pl.DataFrame
    training: dict[Pair, dict]
    costs: pl.DataFrame
    machine: dict | None
    best: dict[str, str]
    reference: dict[str, str]
    average: str | None
    missing: list[Pair]
    references: list[Pair]
    merged: list[Pair]
    ablation: dict | None
    conditions: dict | None
    swaps: list[dict]
    data: dict

    @property
    def pairs(self) -> list[Pair]:
        """Every compared backbone with every compared head."""
        return [(backbone, head) for backbone in self.backbones for head in self.heads]

    def value(
        self, pair: Pair, metric: str, k: int | None = None, *, by: str = "all", segment: str = ""
    ) -> dict | None:
        """One row of `values`; None where there is none."""
        return self._rows.get((*pair, metric, k, by, segment))

    @cached_property
    def cost_of(self) -> dict[Pair, dict]:
        """The rows of `costs`, by backbone and head."""
        return {(row["backbone"], row["head"]): row for row in self.costs.to_dicts()}

    @cached_property
    def differences(self) -> dict[tuple, list[dict]]:
        """The rows of `comparisons` that hold, by backbone, head, metric and k."""
        rows: dict[tuple, list[dict]] = {}
        for row in self.comparisons.filter(pl.col("holds")).to_dicts():
            rows.setdefault((row["backbone"], row["head"], row["metric"], row["k"]), []).append(row)
        return rows

    def test(self, pair: Pair, against: str | None, metric: str) -> dict | None:
        """One row of `comparisons` that is not at k; None where there is none."""
        return self._tests.get((*pair, against, metric, None))

    def seen(self) -> str:
        """How much of what is tested the heads may know by heart: one sentence."""
        share = self.data["sets"]["test"]["share_of_images_in_training"]
        if not share:
            return "No image of a test set is in a training set."
        part = f"{share:.0%}".replace("%", " %")
        return (
            f"Users are split, items are shared: {part} of the test sets' images are in training sets too; "
            "sets.new_items keeps some apart."
        )

    def beyond(self) -> str:
        """Which k are above the number of labels, in a sentence; "" where none is."""
        labels = self.data.get("labels", max(self.ks, default=0))
        above = [str(k) for k in self.ks if k > labels]
        if not above:
            return ""
        return (
            f"There are only {labels} labels: at k = {', '.join(above)} every head recommends all of them, and so do "
            "the floor and the ceiling."
        )

    @cached_property
    def _tests(self) -> dict[tuple, dict]:
        keys = ("backbone", "head", "against", "metric", "k")
        return {tuple(row[key] for key in keys): row for row in self.comparisons.to_dicts()}

    @cached_property
    def _rows(self) -> dict[tuple, dict]:
        return {tuple(row[key] for key in ("backbone", "head", *KEYS)): row for row in self.values.to_dicts()}


def gather(project: Project, settings: "Settings") -> Results:
    """Reads the results of the compared backbones and heads, and of the heads that were merged.

    Raises:
        StageError: when no pair has any, the data were never described, or a file is damaged.
    """
    data: dict = dict(handover.read_record(project.description, Description, again="run visagg sets"))
    digest, backbones, heads = data["sets_digest"], settings.compare.backbones, settings.compared()
    pairs, swaps = [(backbone, head) for backbone in backbones for head in heads], read_swaps(project, digest)
    opened = _open(_folders(project, pairs, swaps), digest)
    samples = {pair: samples_of(results.values()) for pair, results in opened.items()}
    if not samples.keys() & set(pairs):
        raise StageError("no compared backbone and head has results: run visagg evaluate, or dvc repro")
    training = {pair: dict(training) for pair, results in opened.items() if (training := results.training)}
    published = [head for head, spec in heads.items() if spec.as_published() in PUBLISHED.values()]
    best, reference = (_best(backbones, names, training) for names in (list(heads), published))
    average = next((head for head, spec in heads.items() if spec == PRESETS["average"]), None)
    asked = questions(pairs, best=best, reference=reference, average=average, classifier=IMAGE_CLASSIFIER)
    costs, machine = _costs(project, pairs, labels=data["labels"])
    return Results(
        backbones=backbones,
        heads=list(heads),
        ks=settings.evaluate.ks,
        values=estimates(samples),
        comparisons=comparisons(asked, samples),
        history=_history({pair: training[pair] for pair in pairs if pair in training}),
        training=training,
        costs=costs,
        machine=machine,
        best=best,
        reference=reference,
        average=average,
        missing=[pair for pair in pairs if pair not in samples],
        references=[pair for pair in samples if pair[1] in (IMAGE_CLASSIFIER, NEAREST_IMAGES)],
        merged=[pair for pair in _merged(project, swaps) if pair in samples],
        ablation=of_these_sets(project.ablation, Ablation, digest, again="run visagg ablate"),
        conditions=of_these_sets(project.conditions, Conditions, digest, again="run visagg conditions"),
        swaps=swaps,
        data=data,
    )


def _folders(project: Project, pairs: list[Pair], swaps: list[dict]) -> dict[Pair, tuple[Path, str]]:
    """Where results may lie, and the command that makes them."""
    folders = {FLOOR: (project.popularity, "popularity")}
    folders |= {pair: (project.results(*pair), "evaluate") for pair in pairs}
    for backbone in dict(pairs):
        for kind in (IMAGE_CLASSIFIER, NEAREST_IMAGES):
            folders[backbone, kind] = (project.references(backbone) / kind, "references")
    return folders | {pair: (path, "merge") for pair, path in _merged(project, swaps).items()}


def _open(folders: dict[Pair, tuple[Path, str]], sets_digest: str) -> dict[Pair, saved.HeadResults]:
    """Those results that there are; all of the sets that are described, and on as many resamples: they are paired."""
    opened = {}
    for pair, (path, maker) in folders.items():
        if (results := saved.read(path, again=f"run visagg {maker}")) is not None:
            results.require(sets_digest)
            opened[pair] = results
    counts = {results.record["resamples"]: str(results.folder) for results in opened.values()}
    if len(counts) > 1:
        raise StageError(f"{' and '.join(counts.values())} have other resamples: run visagg evaluate, or dvc repro")
    return opened


def read_swaps(project: Project, sets_digest: str) -> list[dict]:
    """All swaps that have values, by old and new backbone.

    Raises:
        StageError: when a file is damaged, or of other sets.
    """
    paths = sorted(path for path in project.swaps.glob("*/*.json") if not path.name.startswith("."))
    found = (of_these_sets(path, Swap, sets_digest, again="run visagg swap") for path in paths)
    return [content for content in found if content is not None]


def _merged(project: Project, swaps: list[dict]) -> dict[Pair, Path]:
    """Results of merged heads, under the backbone whose vectors they read."""
    return {
        (swap["new"], f"{head} from {swap['old']}"): project.merged_results(swap["old"], swap["new"], head)
        for swap in swaps
        for head in swap["heads"]
    }


def _best(backbones: list[str], heads: list[str], training: dict[Pair, dict]) -> dict[str, str]:
    """The head with the highest micro average precision on validation, mean over seeds, of each backbone with any."""
    best = {}
    for backbone in backbones:
        trained = [head for head in heads if (backbone, head) in training]
        quality = {head: np.mean([run["micro_ap"] for run in training[backbone, head]["seeds"]]) for head in trained}
        if quality:
            best[backbone] = max(quality, key=quality.__getitem__)
    return best


def _history(training: dict[Pair, dict]) -> pl.DataFrame:
    names = {"backbone": pl.String, "head": pl.String, "seed": pl.Int64, "epoch": pl.Int64}
    rows = [
        {"backbone": backbone, "head": head, **epoch}
        for (backbone, head), content in training.items()
        for epoch in content["epochs"]
    ]
    return pl.DataFrame(rows, {**names, "loss": pl.Float64, "micro_ap": pl.Float64})


def _costs(project: Project, pairs: list[Pair], *, labels: int) -> tuple[pl.DataFrame, dict | None]:
    """What each head costs, and where that was measured; all of as many labels as are described."""
    numbers = ["parameters", "folded_parameters", "milliseconds", "folded_milliseconds"]
    paths = {backbone: project.cost(backbone) for backbone, _ in pairs}
    measured: dict[str, dict[str, Any]] = {
        backbone: dict(handover.read_record(path, Cost, again=f"run visagg cost {backbone}"))
        for backbone, path in paths.items()
        if handover.exists(path)
    }
    for backbone, of_heads in measured.items():
        if of_heads["classes"] != labels:
            of_others = f"is of heads for {of_heads['classes']} labels, not {labels}"
            raise StageError(f"{paths[backbone]} {of_others}: run visagg cost {backbone}, or dvc repro")
    rows = [
        [backbone, head, *(cost["heads"][head][name] for name in numbers), cost["backbone_parameters"]]
        for backbone, head in pairs
        if (cost := measured.get(backbone)) and head in cost["heads"]
    ]
    kinds = [pl.String, pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.Int64]
    schema = dict(zip(["backbone", "head", *numbers, "backbone_parameters"], kinds, strict=True))
    first = next(iter(measured.values()), None)
    machine = first and {**first["machine"], "images": first["images"], "classes": first["classes"]}
    return pl.DataFrame(rows, schema, orient="row"), machine


def of_these_sets(path: Path, kind: type, sets_digest: str, *, again: str) -> dict | None:
    """A record that was made of the sets that are described; None where there is none.

    Raises:
        StageError: when it is damaged, or of other sets.
    """
    if not handover.exists(path):
        return None
    content: dict = handover.read_record(path, kind, again=again)
    if content["sets_digest"] != sets_digest:
        raise StageError(f"{path} is of other sets: {again}, or dvc repro")
    return content
