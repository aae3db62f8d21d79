"""The command line: reads the settings, calls one function, turns errors into one line and an exit status."""

import errno
import json
import os
import sys
from pathlib import Path

import click

from pipeline import layout, params
from pipeline.errors import PipelineError, SettingsError
from pipeline.heads import PRESETS, build_head

INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended


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
@click.pass_obj
def embed(path: Path, backbones: tuple[str, ...], rebuild: bool) -> None:
    """Images through backbones, once: cache/embeddings/BACKBONE.h5.

    What a store holds is not done again: after an interruption the same command goes on, and when the catalogue has
    changed only images that are new to it are embedded.
    """
    settings = params.load(path)
    chosen = {alias: settings.backbone(alias) for alias in backbones}
    from pipeline.backbones import load_backbone
    from pipeline.catalogue import Images
    from pipeline.extract import embed

    images = Images(layout.CATALOGUE / "images.h5")
    threads = settings.embed.threads or os.cpu_count() or 1
    for alias, backbone in chosen.items():
        loaded = load_backbone(backbone.model, backbone.weights)
        embed(images, loaded, layout.store(alias), settings.embed.engine, settings.embed.batch_size, threads, rebuild)


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
@click.argument("head")
@click.pass_obj
def evaluate(path: Path, backbone: str, head: str) -> None:
    """Scores the test split with a trained head: reports/metrics/BACKBONE/HEAD.json."""
    settings = _require_pair(path, backbone, head)
    from pipeline.evaluate import evaluate

    evaluate(
        layout.head(backbone, head),
        layout.store(backbone),
        layout.SETS,
        layout.LABELS,
        layout.metrics(backbone, head),
        layout.scores(backbone, head),
        settings.evaluate,
    )


@cli.command()
@click.pass_obj
def floor(path: Path) -> None:
    """Scores the test split by popularity alone: reports/metrics/popularity.json."""
    from pipeline.floor import evaluate_popularity

    evaluate_popularity(layout.SETS, layout.LABELS, layout.POPULARITY, params.load(path).evaluate)


@cli.command()
@click.argument("backbone")
@click.pass_obj
def cost(path: Path, backbone: str) -> None:
    """Measures what each compared head costs on a backbone: reports/cost/BACKBONE.json."""
    settings = params.load(path)
    settings.require("backbones", backbone)
    from pipeline.bench import measure_heads

    specs = {alias: settings.head(alias) for alias in settings.compare.heads}
    measure_heads(specs, layout.store(backbone), layout.LABELS, settings.sets.max_images, layout.cost(backbone))


@cli.command()
@click.pass_obj
def report(path: Path) -> None:
    """Saved figures to tables: reports/tables."""
    from pipeline.report import report

    settings = params.load(path)
    pairs = [(backbone, head) for backbone in settings.compare.backbones for head in settings.compare.heads]
    report(pairs, settings.evaluate.ks)


@cli.command()
@click.option("--dim", type=click.IntRange(1), default=1024, show_default=True, help="Numbers a vector.")
@click.option("--classes", type=click.IntRange(1), default=1000, show_default=True, help="Labels.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with name and parameters.")
def heads(dim: int, classes: int, as_json: bool) -> None:
    """Lists the named heads and how many parameters they have."""
    rows = [{"name": name, "parameters": build_head(name, dim, classes).parameter_count()} for name in PRESETS]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']:20s} {row['parameters']:>12,}")


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
    from pipeline.backbones import load_backbone
    from pipeline.catalogue import Images
    from pipeline.embeddings import Embeddings

    images, items = Images(layout.CATALOGUE / "images.h5"), layout.CATALOGUE / "items.parquet"
    found = 0
    for alias, backbone in chosen.items():
        store = Embeddings(layout.store(alias))
        faults = cache.verify(store, images, items)
        if sample:
            loaded = load_backbone(backbone.model, backbone.weights)
            faults += cache.verify_sample(store, images, items, loaded, settings.embed.engine, sample, seed)
        for fault in faults:
            click.echo(f"{alias} row {fault.row} (items {', '.join(fault.item_ids) or 'unknown'}): {fault.reason}")
        if repair and faults:
            cache.repair(layout.store(alias), faults)
        found += len(faults)
    click.echo(f"{found} faulty rows{' made pending: run visagg embed' if repair and found else ''}")
    sys.exit(1 if found and not repair else 0)


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
        _fail("stopped; what is finished is kept, and the same command goes on from there", INTERRUPTED)
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
