"""The command line: reads the settings, calls one function, turns errors into one line and an exit status."""

import errno
import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline import layout, params
from pipeline.errors import PipelineError, SettingsError, StageError
from pipeline.heads import PRESETS, parameter_count, resolve

if TYPE_CHECKING:
    from pipeline.extract import Target

INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended


class Shard(click.ParamType):
    """The I-th of N parts: "I/N", counted from 1."""

    name = "I/N"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        index, _, count = str(value).partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            self.fail(f"{value!r} is no part such as 1/4 or 4/4", param, context)
        return int(index), int(count)


SHARD = Shard()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--params", "path", type=click.Path(path_type=Path), default=layout.PARAMS, show_default=True, help="The settings."
)
@click.pass_context
def cli(context: click.Context, path: Path) -> None:
    """A person's interests from a set of product photos.

    `dvc repro` runs all stages that are out of date; the commands here are those stages, one by one.
    """
    context.obj = path


@cli.command()
@click.pass_obj
def ingest(path: Path) -> None:
    """Raw data to the catalogue: data/catalogue."""
    from pipeline.ingest import ingest
    from pipeline.sources import READERS

    settings = params.load(path)
    source = READERS[settings.source.name](Path(settings.source.path), settings.demo.model_dump())
    origin = "demo" if settings.source.name == "demo" else settings.source.path
    ingest(source, origin, layout.CATALOGUE, os.cpu_count() or 1)


@cli.command()
@click.pass_obj
def sets(path: Path) -> None:
    """Purchases to labelled image sets: data/sets.parquet, data/labels.json, reports/data.json."""
    from pipeline.sets import make_sets

    settings = params.load(path)
    make_sets(layout.CATALOGUE, layout.SETS, layout.LABELS, layout.DATA_REPORT, settings.source.name, settings.sets)


@cli.command()
@click.argument("backbones", nargs=-1, required=True)
@click.option("--rebuild", is_flag=True, help="Begin anew, whatever the stores hold.")
@click.option("--shard", type=SHARD, metavar="I/N", help="Only the I-th of N parts, into a store of its own.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Processes that share the work on this machine.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="A dask scheduler whose workers do the work, such as tcp://host:8786."
)
@click.pass_obj
def embed(
    path: Path,
    backbones: tuple[str, ...],
    rebuild: bool,
    shard: tuple[int, int] | None,
    jobs: int,
    scheduler: str | None,
) -> None:
    """Images through backbones, once: cache/embeddings/BACKBONE.h5.

    What a store holds is not done again: after an interruption the same command goes on, and when the catalogue has
    changed only images that are new to it are embedded. Several backbones share the decoding of each image.

    On machines that share no files, run --shard 1/2 on one and --shard 2/2 on the other, copy the stores under
    cache/embeddings/parts to one of them, and join them with visagg cache merge.
    """
    if (shard is not None) + (jobs > 1) + (scheduler is not None) > 1:
        raise click.UsageError("--shard, --jobs and --scheduler are three ways to divide the work: give one of them")
    settings = params.load(path)
    chosen = {alias: settings.backbone(alias) for alias in backbones}
    from pipeline import extract
    from pipeline.catalogue import Images

    images = layout.CATALOGUE / "images.h5"
    catalogue = Images(images)
    targets = [_target(alias, backbone) for alias, backbone in chosen.items()]
    if shard:
        rows = extract.share(len(catalogue), *shard)
        targets = [replace(target, path=extract.part_path(target.path, *shard)) for target in targets]
        extract.embed(catalogue.part(rows), targets, settings.embed, rebuild, all_there_is=False)
    elif jobs > 1 or scheduler:
        loaders = {alias: (backbone.model, backbone.weights) for alias, backbone in chosen.items()}
        extract.embed_in_parts(images, targets, loaders, settings.embed, jobs, scheduler, rebuild)
    else:
        extract.embed(catalogue, targets, settings.embed, rebuild)


def _target(alias: str, backbone: params.BackboneSettings) -> "Target":
    """A backbone and its store, by its alias."""
    from pipeline.backbones import open_backbone
    from pipeline.extract import Target

    opened = open_backbone(backbone.model, backbone.weights, layout.backbone_record(alias))
    return Target(alias, opened, layout.store(alias))


@cli.command()
@click.argument("backbone")
@click.argument("head")
@click.pass_obj
def train(path: Path, backbone: str, head: str) -> None:
    """Fits a head on a backbone's vectors: cache/heads/BACKBONE/HEAD."""
    settings = _require_pair(path, backbone, head)
    from pipeline.train import train

    train(
        settings.head(head),
        layout.store(backbone),
        layout.SETS,
        layout.LABELS,
        layout.head(backbone, head),
        settings.train,
    )


@cli.command()
@click.argument("backbone")
@click.argument("heads", nargs=-1)
@click.pass_obj
def evaluate(path: Path, backbone: str, heads: tuple[str, ...]) -> None:
    """Scores the test split with trained heads (default: those compared): cache/scores/BACKBONE, reports/metrics."""
    settings = params.load(path)
    settings.require("backbones", backbone)
    for head in heads:
        if layout.head(backbone, head).is_dir():
            continue  # a merged head is not declared
        settings.require("heads", head)
    from pipeline.evaluate import evaluate

    evaluate(
        [layout.head(backbone, head) for head in heads or settings.compare.heads],
        layout.store(backbone),
        layout.SETS,
        layout.LABELS,
        layout.metrics(backbone),
        layout.scores(backbone),
        settings.evaluate,
    )


@cli.command()
@click.pass_obj
def floor(path: Path) -> None:
    """Scores the test split by popularity alone: cache/scores/popularity, reports/metrics/popularity.json."""
    from pipeline.floor import evaluate_popularity

    settings = params.load(path).evaluate
    evaluate_popularity(layout.SETS, layout.LABELS, layout.POPULARITY, layout.FLOOR_SCORES, settings)


@cli.command()
@click.pass_obj
def ablate(path: Path) -> None:
    """Trains heads with each peculiarity of the published code: reports/ablation.json."""
    settings = params.load(path)
    from pipeline.ablation import ablate

    ablate(
        {name: resolve(name) for name in settings.ablation.heads},
        layout.store(settings.ablation.backbone),
        layout.CATALOGUE,
        layout.SETS,
        layout.LABELS,
        layout.ABLATION,
        settings.sets,
        settings.train,
        settings.evaluate,
    )


@cli.command()
@click.argument("backbone")
@click.pass_obj
def cost(path: Path, backbone: str) -> None:
    """Measures what each compared head costs on a backbone: reports/cost/BACKBONE.json."""
    settings = params.load(path)
    settings.require("backbones", backbone)
    from pipeline.cost import measure_heads

    specs = {alias: settings.head(alias) for alias in settings.compare.heads}
    measure_heads(specs, layout.store(backbone), layout.LABELS, settings.sets.max_images, layout.cost(backbone))


@cli.command()
@click.argument("old", required=False)
@click.argument("new", nargs=-1)
@click.option(
    "--merge", "merging", is_flag=True, help="Also save each head with its adapter merged in, as a head of NEW."
)
@click.pass_obj
def swap(path: Path, old: str | None, new: tuple[str, ...], merging: bool) -> None:
    """Heads of OLD on NEW's vectors: cache/adapters/OLD/NEW.safetensors, reports/swap, reports/tables/swap.

    Without NEW, those that the settings list under swap for OLD; without OLD, all of them. With --merge, the heads that
    can take an adapter in go to cache/heads/NEW/HEAD_from_OLD, and visagg evaluate NEW HEAD_from_OLD scores them.
    """
    settings = params.load(path)
    wanted = settings.swaps(old, new)
    from pipeline import swap as stage
    from pipeline.swap_tables import write_tables

    def side(alias: str) -> stage.Side:
        folders = {name: layout.head(alias, name) for name in settings.compare.heads}
        return stage.Side(alias, layout.store(alias), folders)

    for folder in (layout.SWAPS, layout.ADAPTERS):  # what the graph expects, also of an empty list
        folder.mkdir(parents=True, exist_ok=True)
    for one, other in wanted:
        adapter = layout.adapter(one, other)
        stage.swap(
            side(one), side(other), layout.SETS, layout.LABELS, adapter, layout.swap(one, other), settings.evaluate
        )
        if merging:
            merged = stage.merge(side(one), side(other), adapter, partial(layout.merged, one, other))
            for name, obstacle in merged.items():
                click.echo(
                    f"{name}: not merged: {obstacle}" if obstacle else f"{name}: {layout.merged(one, other, name)}"
                )
    write_tables(layout.SWAPS, layout.DATA_REPORT, layout.TABLES)


@cli.command()
@click.pass_obj
def gallery(path: Path) -> None:
    """Some test users, their images and every head's answer, for the report's page: cache/gallery.json."""
    from pipeline.gallery import make_gallery

    compare = params.load(path).compare
    pairs = [(backbone, head) for backbone in compare.backbones for head in compare.heads]
    folders = {(backbone, head): layout.scores(backbone) / head for backbone, head in pairs}
    make_gallery(layout.CATALOGUE, layout.SETS, layout.LABELS, folders, layout.GALLERY)


@cli.command()
@click.pass_obj
def report(path: Path) -> None:
    """Saved results to tables, figures and a page: reports/."""
    from pipeline.report import report

    settings = params.load(path)
    heads = {name: settings.head(name) for name in settings.compare.heads}
    report(settings.compare.backbones, heads, settings.evaluate)


@cli.command()
@click.option("--dim", type=click.IntRange(1), default=1024, show_default=True, help="Numbers a vector.")
@click.option("--classes", type=click.IntRange(1), default=1000, show_default=True, help="Labels.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with name and parameters.")
def heads(dim: int, classes: int, as_json: bool) -> None:
    """Lists the named heads and how many parameters they have."""
    rows = [{"name": name, "parameters": parameter_count(spec, dim, classes)} for name, spec in PRESETS.items()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']:26s} {row['parameters']:>12,}")


@cli.group()
def cache() -> None:
    """Looks after the embedding stores."""


@cache.command("ls")
def list_stores() -> None:
    """Shows each store: what made it, its rows by status, its size."""
    from pipeline.cache import describe

    for store in sorted(layout.STORES.glob("*.h5")):
        click.echo("  ".join(f"{name} {value}" for name, value in describe(store).items()))


@cache.command()
@click.argument("backbones", nargs=-1, required=True)
@click.option("--sample", type=click.IntRange(0), default=0, help="Embed this many images anew and compare.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
@click.option("--repair", is_flag=True, help="Make faulty rows pending: the next embed does them again.")
@click.pass_obj
def verify(path: Path, backbones: tuple[str, ...], sample: int, seed: int, repair: bool) -> None:
    """Checks finished rows against their checksums and images; names the faulty ones. Exits with 1 if there are any."""
    settings = params.load(path)
    chosen = {alias: settings.backbone(alias) for alias in backbones}
    from pipeline import cache
    from pipeline.backbones import open_backbone
    from pipeline.catalogue import Images
    from pipeline.embeddings import Embeddings

    images, items = Images(layout.CATALOGUE / "images.h5"), layout.CATALOGUE / "items.parquet"
    found = 0
    for alias, backbone in chosen.items():
        store = Embeddings(layout.store(alias))
        faults = cache.verify(store, images, items)
        if sample:
            loaded = open_backbone(backbone.model, backbone.weights)
            faults += cache.verify_sample(store, images, items, loaded, settings.embed.engine, sample, seed)
        for fault in faults:
            click.echo(f"{alias} row {fault.row} (items {', '.join(fault.item_ids) or 'unknown'}): {fault.reason}")
        if repair and faults:
            cache.repair(layout.store(alias), faults)
        found += len(faults)
    rows = "1 faulty row" if found == 1 else f"{found} faulty rows"
    click.echo(f"{rows}{' made pending: run visagg embed' if repair and found else ''}")
    sys.exit(1 if found and not repair else 0)


@cache.command()
@click.argument("backbone")
@click.argument("parts", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_obj
def merge(path: Path, backbone: str, parts: tuple[Path, ...]) -> None:
    """Joins parts that embed --shard made into a backbone's store; without PARTS, those in cache/embeddings/parts.

    The parts stay where they are; a part of another backbone, or of other weights, is refused.
    """
    chosen = params.load(path).backbone(backbone)
    from pipeline import extract
    from pipeline.catalogue import Images

    if not (found := parts or extract.parts_of(layout.store(backbone))):
        raise StageError(
            f"no parts of {backbone} in {layout.STORES / 'parts'}: run visagg embed {backbone} --shard 1/2"
        )
    extract.merge_parts(Images(layout.CATALOGUE / "images.h5"), _target(backbone, chosen), found)


@cli.group()
def bench() -> None:
    """Measures the program against others on this machine."""


@bench.command("embed")
@click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Photos, in folders that name their classes.",
)
@click.option("--backbone", "alias", required=True, help="As declared in the settings.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Where the figures go.")
@click.option("--limit", type=click.IntRange(1), help="Only so many photos, for a quick look.")
@click.option("--blocks", type=click.IntRange(1), default=6, show_default=True, help="Turns that contenders take.")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images a batch, of the others.")
@click.pass_obj
def bench_embed(
    path: Path, folder: Path, alias: str, json_path: Path | None, limit: int | None, blocks: int, batch: int
) -> None:
    """Images a second, end to end: visagg embed against timm with a DataLoader, and against ONNX Runtime."""
    settings = params.load(path)
    backbone = settings.backbone(alias)
    from pipeline import files
    from pipeline.bench.embedding import bench_embedding
    from pipeline.bench.figures import table

    found = bench_embedding(folder, alias, backbone, settings.embed, limit, blocks, batch)
    if json_path:
        files.write_json(json_path, found)
    click.echo(table(found["contenders"]))


@bench.command("train")
@click.argument("backbone")
@click.argument("heads", nargs=-1)
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Where the figures go.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Turns that both ways take.")
@click.pass_obj
def bench_train(path: Path, backbone: str, heads: tuple[str, ...], json_path: Path | None, rounds: int) -> None:
    """Sets a second for each head (default: those compared) against a plain torch loop that reads from HDF5."""
    settings = params.load(path)
    settings.require("backbones", backbone)
    specs = {alias: settings.head(alias) for alias in heads or settings.compare.heads}
    from pipeline import files
    from pipeline.bench.training import measure_training, table

    found = measure_training(specs, layout.store(backbone), layout.SETS, layout.LABELS, settings.train, rounds)
    if json_path:
        files.write_json(json_path, found)
    click.echo(table(found))


def _require_pair(path: Path, backbone: str, head: str) -> params.Params:
    """The settings, once both names are known to be declared: before torch loads."""
    settings = params.load(path)
    settings.require("backbones", backbone)
    settings.require("heads", head)
    return settings


def main() -> None:
    """Runs the command line; exits with 0, 1 (a fault that the user can mend), 2 (usage) or 130 (Ctrl-C)."""
    try:
        sys.exit(cli(standalone_mode=False))
    except click.Abort:
        _fail("stopped; what is finished is kept: run the same command again", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PipelineError as error:
        _fail(str(error), 2 if isinstance(error, SettingsError) else 1)
    except Exception as error:
        if reason := _about_the_system(error):
            _fail(reason, 1)
        raise  # a fault of the program's own: the traceback is what its author needs


def _about_the_system(error: Exception) -> str | None:
    """One line where the disk or the file system is at fault; libraries wrap such errors in kinds of their own."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        return "the disk is full: nothing half-written was left; make room and run the same command again"
    if isinstance(error, OSError):
        return " ".join(str(error).split())
    return None


def _fail(message: str, status: int) -> None:
    click.echo(f"visagg: {message}", err=True)
    sys.exit(status)
