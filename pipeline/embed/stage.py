"""The stage: brings the stores of backbones, by alias, up to date; in this process, in parts, or on other machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.catalogue.images import Images
from pipeline.core.errors import StageError
from pipeline.core.failure import keeping
from pipeline.embed import parts, stream
from pipeline.embed.backbones.backbone import open_backbone
from pipeline.embed.finetune.weights import require_weights
from pipeline.embed.stream import RunOptions
from pipeline.embed.target import Target
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.sections import BackboneSettings, EmbedSettings


@dataclass(frozen=True)
class Division:
    """How the work is divided; of `shard`, `jobs` and `scheduler` at most one is given.

    Attributes:
        rebuild: begin anew, whatever the stores hold.
        shard: only the I-th of N parts, (I, N), into a store of its own.
        jobs: processes of this machine.
        scheduler: the address of a dask scheduler.
    """

    rebuild: bool = False
    shard: tuple[int, int] | None = None
    jobs: int | None = None
    scheduler: str | None = None


WHOLE = Division()
KEPT = "the vectors that are stored stay, and it goes on from there"


def embed(
    project: Project,
    backbones: Mapping[str, "BackboneSettings"],
    settings: "EmbedSettings",
    *,
    division: Division = WHOLE,
) -> None:
    """Brings the stores of some backbones up to date with the catalogue.

    Args:
        project: where the catalogue and the stores lie.
        backbones: by alias.
        settings: of stage one.
        division: how the work is divided; by default it is not.

    Raises:
        PipelineError: as `open_backbone`, `stream.embed` and `parts.embed_in_parts`.
    """
    with keeping(KEPT):
        _embed(project, backbones, settings, division=division)


def _embed(
    project: Project, backbones: Mapping[str, "BackboneSettings"], settings: "EmbedSettings", *, division: Division
) -> None:
    images = Images(project.images)
    targets = [_target(project, alias, backbone) for alias, backbone in backbones.items()]
    if division.shard:
        rows = parts.share(len(images), *division.shard)
        targets = [replace(target, path=parts.part_path(target.path, *division.shard)) for target in targets]
        part, options = images.part(rows), RunOptions(settings)
        stream.embed(part, targets, options, rebuild=division.rebuild, whole_catalogue=False)
    elif (division.jobs or 1) > 1 or division.scheduler:
        loaders = {alias: (backbone.model, backbone.weights) for alias, backbone in backbones.items()}
        work = parts.Work(project.images, targets, loaders, settings)
        parts.embed_in_parts(work, parts.Workers(division.jobs or 1, division.scheduler), rebuild=division.rebuild)
    else:
        stream.embed(images, targets, RunOptions(settings), rebuild=division.rebuild)


def merge_shards(project: Project, alias: str, backbone: "BackboneSettings", *, paths: Sequence[Path] = ()) -> None:
    """Joins parts into a backbone's store.

    Args:
        project: where the catalogue and the store lie.
        alias: the backbone's.
        backbone: the model, and where its weights come from.
        paths: the parts; none: all that lie beside the store.

    Raises:
        StageError: when there are none.
        StoreError: when a part has another fingerprint than the backbone, is damaged or missing.
    """
    store = project.store(alias)
    if not (chosen := list(paths) or parts.parts_of(store)):
        raise StageError(f"no parts of {alias} in {store.parent / 'parts'}: run visagg embed {alias} --shard 1/2")
    parts.merge_parts(Images(project.images), _target(project, alias, backbone), chosen)


def _target(project: Project, alias: str, backbone: "BackboneSettings") -> Target:
    if backbone.finetuned_from:
        require_weights(project, alias)
    opened = open_backbone(backbone.model, backbone.weights, project.backbone_record(alias))
    return Target(alias, opened, project.store(alias))
