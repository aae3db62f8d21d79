"""The command line: reads the settings, calls one function, turns an error into one line and an exit status.

Each command imports what it calls when it runs: `visagg heads` does not wait for torch.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from pipeline.core.failure import STOPPED, explain, heed_destructors
from pipeline.project import Project
from pipeline.settings import Settings, load

VERSION = next((package.version for package in metadata.distributions(name="visagg")), "unknown: it is not installed")
Names = tuple[str, ...]
Shard = tuple[int, int]
COUNT = click.IntRange(1)
FILE = click.Path(path_type=Path, dir_okay=False)
PHOTOS = click.Path(path_type=Path, file_okay=False, exists=True)
JSON_FILE = click.option("--json", "json_path", type=FILE, help="Where the values go.")


@dataclass(frozen=True)
class Context:
    """What commands get: the project, and where its settings are read from, if not from their usual file."""

    project: Project
    path: Path | None

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once and only by commands that need them."""
        return load(self.path or self.project.settings)


def parse_shard(text: str) -> tuple[int, int]:
    """The I-th of N parts, counted from 1, of "I/N"."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"{text!r} is no part such as 1/4 or 4/4")
    return int(index), int(count)


def command(group: click.Group, name: str | None = None) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a function a command of a group; it gets the Context first."""
    return lambda function: group.command(name)(click.pass_obj(function))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="visagg")
@click.option("--params", "path", type=FILE, help="The settings.  [default: pipeline/params.yaml]")
@click.pass_context
def cli(context: click.Context, path: Path | None) -> None:
    """A person's interests from a set of product photos: the stages that dvc repro runs, one by one, and tools."""
    context.obj = Context(Project(), path)


@command(cli)
def ingest(context: Context) -> None:
    """Raw data to the catalogue: data/catalogue."""
    from pipeline.ingest.stage import ingest

    ingest(context.project, context.settings)


@command(cli)
def sets(context: Context) -> None:
    """Purchases to labelled image sets: data/sets.parquet, data/labels.json, data/description.json."""
    from pipeline.sets.stage import make_sets

    make_sets(context.project, context.settings)


@command(cli)
def specs(context: Context) -> None:
    """The compared heads, resolved, with digests of their code, so that DVC sees which ones a change touches."""
    from pipeline.heads.declare import write_specs

    write_specs(context.project, context.settings)


@command(cli)
@click.argument("backbones", nargs=-1, required=True)
@click.option("--rebuild", is_flag=True, help="Begin anew, whatever the stores hold.")
@click.option("--shard", type=parse_shard, metavar="I/N", help="Only the I-th of N parts, into its own store.")
@click.option("--jobs", type=COUNT, help="Processes that share the work on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="A dask scheduler whose workers do it, such as tcp://host:8786.")
def embed(
    context: Context, *, backbones: Names, rebuild: bool, shard: Shard | None, jobs: int | None, scheduler: str | None
) -> None:
    """Images through backbones, once: cache/embeddings/BACKBONE.h5.

    What a store holds is not done again: after an interruption the same command goes on, and when the catalogue has
    changed only images that are new to it are embedded. Several backbones share the decoding of each image.

    On machines that share no files, run --shard 1/2 on one and --shard 2/2 on the other, copy the stores under
    cache/embeddings/parts to one of them, and join them with visagg cache merge.
    """
    if [shard, jobs, scheduler].count(None) < 2:
        raise click.UsageError("--shard, --jobs and --scheduler are three ways to divide the work: give one of them")
    from pipeline.embed.stage import Division, embed

    division = Division(rebuild=rebuild, shard=shard, jobs=jobs, scheduler=scheduler)
    embed(context.project, context.settings.backbones_of(backbones), context.settings.embed, division=division)


@command(cli)
@click.argument("backbone")
@click.argument("head")
def train(context: Context, *, backbone: str, head: str) -> None:
    """Fits a head on a backbone's vectors: cache/heads/BACKBONE/HEAD, or, if it is not compared, cache/tried."""
    context.settings.require(backbone, head)
    from pipeline.training.stage import train

    train(context.project, backbone, head, context.settings)


@command(cli)
@click.argument("backbone")
@click.argument("heads", nargs=-1)
def evaluate(context: Context, *, backbone: str, heads: Names) -> None:
    """Scores the test split with trained heads (default: those compared): cache/results/BACKBONE, or cache/tried."""
    context.settings.require(backbone, *heads)
    from pipeline.evaluation.evaluate import evaluate

    click.echo(evaluate(context.project, backbone, heads, context.settings))


@command(cli)
def popularity(context: Context) -> None:
    """Scores the test split by popularity alone: cache/results/popularity."""
    from pipeline.evaluation.popularity import evaluate_popularity

    evaluate_popularity(context.project, context.settings)


@command(cli)
def ablate(context: Context) -> None:
    """Trains heads with each peculiarity of the published code: cache/ablation.json."""
    from pipeline.evaluation.ablation import ablate

    ablate(context.project, context.settings)


@command(cli)
@click.argument("backbone")
def cost(context: Context, *, backbone: str) -> None:
    """Measures what each compared head costs on a backbone, on this machine: cache/cost/BACKBONE.json."""
    context.settings.require(backbone)
    from pipeline.evaluation.cost import measure_heads

    measure_heads(context.project, backbone, context.settings)


@command(cli)
@click.argument("old", required=False)
@click.argument("new", nargs=-1)
def swap(context: Context, *, old: str | None, new: Names) -> None:
    """Heads of OLD on NEW's vectors (default: what the settings list under swap): cache/adapters, cache/swap."""
    pairs = context.settings.swaps(old, new)
    from pipeline.swap.stage import swap

    swap(context.project, pairs, context.settings)


@command(cli)
@click.argument("old", required=False)
@click.argument("new", nargs=-1)
def merge(context: Context, *, old: str | None, new: Names) -> None:
    """Merges the adapters that visagg swap made (same arguments) into heads of OLD: cache/merged/OLD/NEW/HEAD."""
    pairs = context.settings.swaps(old, new)
    from pipeline.swap.merging import merge

    click.echo(merge(context.project, pairs, context.settings))


@command(cli)
def gallery(context: Context) -> None:
    """Some test users, their images and every head's answer, for the report's page: cache/gallery.json."""
    from pipeline.report.gallery import make_gallery

    make_gallery(context.project, context.settings)


@command(cli)
def report(context: Context) -> None:
    """Saved results to tables, plots and a page: reports/."""
    from pipeline.report.stage import report

    report(context.project, context.settings)


@cli.command()
@click.option("--dim", type=COUNT, default=1024, show_default=True, help="Numbers a vector.")
@click.option("--classes", type=COUNT, default=1000, show_default=True, help="Labels.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with name, parameters and spec.")
def heads(*, dim: int, classes: int, as_json: bool) -> None:
    """Lists the named heads and how many parameters they have."""
    from pipeline.heads.presets import listing

    click.echo(listing(dim, classes, as_json=as_json))


@cli.group()
def cache() -> None:
    """Looks after the embedding stores."""


@command(cache, "ls")
def list_stores(context: Context) -> None:
    """Shows each store: what made it, its rows by status, its size."""
    from pipeline.embed.verify import describe_all

    click.echo(describe_all(context.project), nl=False)


@command(cache)
@click.argument("backbones", nargs=-1, required=True)
@click.option("--sample", type=click.IntRange(0), default=0, help="Embed this many images anew and compare.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
@click.option("--repair", is_flag=True, help="Make faulty rows pending: the next embed does them again.")
def verify(context: Context, *, backbones: Names, sample: int, seed: int, repair: bool) -> None:
    """Checks finished rows against their checksums and images; names the faulty ones. Exits with 1 if there are any."""
    chosen = context.settings.backbones_of(backbones)
    from pipeline.embed.verify import Check, verify_stores

    check = Check(sample=sample, seed=seed, engine=context.settings.embed.engine, repair=repair)
    sys.exit(1 if verify_stores(context.project, chosen, check, say=click.echo) and not repair else 0)


@command(cache, "merge")
@click.argument("backbone")
@click.argument("parts", nargs=-1, type=click.Path(path_type=Path, dir_okay=False, exists=True))
def merge_shards(context: Context, *, backbone: str, parts: tuple[Path, ...]) -> None:
    """Joins parts that embed --shard made into a backbone's store; without PARTS, those in cache/embeddings/parts.

    The parts stay where they are; a part of another backbone, or of other weights, is refused.
    """
    from pipeline.embed.stage import merge_shards

    merge_shards(context.project, backbone, context.settings.backbone(backbone), paths=parts)


@cli.group()
def bench() -> None:
    """Measures the program against others on this machine."""


@command(bench, "embed")
@click.option("--images", "folder", type=PHOTOS, required=True, help="Photos, in a folder for each class.")
@click.option("--backbone", required=True, help="As declared in the settings.")
@click.option("--limit", type=COUNT, help="Only so many photos, for a quick look.")
@click.option("--blocks", type=COUNT, default=6, show_default=True, help="Turns that contenders take.")
@click.option("--batch", type=COUNT, default=64, show_default=True, help="Images a batch, of the others.")
@JSON_FILE
def bench_embed(context: Context, *, backbone: str, json_path: Path | None, **size: Any) -> None:
    """Images a second, end to end: visagg embed against timm with a DataLoader, and against ONNX Runtime."""
    chosen = context.settings.backbone(backbone)
    from pipeline.bench.embedding import Size, bench_embedding

    click.echo(bench_embedding(backbone, chosen, context.settings.embed, size=Size(**size), json_path=json_path))


@command(bench, "train")
@click.argument("backbone")
@click.argument("heads", nargs=-1)
@click.option("--rounds", type=COUNT, default=3, show_default=True, help="Turns that both ways take.")
@JSON_FILE
def bench_train(context: Context, *, backbone: str, heads: Names, rounds: int, json_path: Path | None) -> None:
    """Sets a second for each head (default: those compared) against a plain torch loop that reads from HDF5."""
    context.settings.require(backbone, *heads)
    from pipeline.bench.training import Comparison, bench_training

    chosen = Comparison(backbone, heads or context.settings.compare.heads, rounds)
    click.echo(bench_training(context.project, chosen, context.settings, json_path=json_path))


def main() -> None:
    """Runs the command line; exits with 0, 1 (a fault that the user can mend), 2 (usage) or 130 (Ctrl-C)."""
    heed_destructors()
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (Exception, KeyboardInterrupt) as error:
        if not (failure := STOPPED if isinstance(error, click.Abort | KeyboardInterrupt) else explain(error)):
            raise  # a fault of the program's own: the traceback is what its author needs
        click.echo(f"visagg: {failure[0]}", err=True)
        sys.exit(failure[1])


if __name__ == "__main__":
    main()
