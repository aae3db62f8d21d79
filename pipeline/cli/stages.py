"""The stages, in the order in which DVC runs them."""

import sys
from pathlib import Path

import click

from pipeline.cli.group import COUNT, Context, Names, cli, command, say

Shard = tuple[int, int]
JSON = click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")


def parse_shard(text: str) -> tuple[int, int]:
    """The I-th of N parts, counted from 1, of "I/N"."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"{text!r} is no part such as 1/4 or 4/4")
    return int(index), int(count)


@command(cli)
def source(context: Context) -> None:
    """Looks which files the raw data have, for DVC, and opens none: data/source.json."""
    from pipeline.core.survey import write_survey

    read = context.settings.source
    say(write_survey(None if read.name == "demo" else Path(read.path), to=context.project.source))


@command(cli)
@click.option("--retry", is_flag=True, help="Ask again for what failed before and may have passed.")
@click.option("--list", "is_list", is_flag=True, help="Only write what is known of each address, as CSV.")
def fetch(context: Context, *, retry: bool, is_list: bool) -> None:
    """Photos of the source's items by their addresses: data/photos.

    What is there is not asked for again: after an interruption the same command goes on. visagg ingest reads what is
    there, also meanwhile.
    """
    from pipeline.ingest.fetch.stage import fetch, write_list

    if is_list:
        write_list(context.project, sys.stdout)
    else:
        fetch(context.project, context.settings, retry=retry)


@command(cli)
def ingest(context: Context) -> None:
    """Raw data to the catalogue: data/catalogue."""
    from pipeline.ingest.stage import ingest

    say(ingest(context.project, context.settings))


@command(cli)
def sets(context: Context) -> None:
    """Purchases to labelled image sets: data/sets.parquet, data/labels.json, data/description.json."""
    from pipeline.sets.stage import make_sets

    say(make_sets(context.project, context.settings))


@command(cli)
def specs(context: Context) -> None:
    """The compared heads, resolved, with digests of their code, so that DVC sees which ones a change touches."""
    from pipeline.heads.declare import write_specs

    say(write_specs(context.project, context.settings))


@command(cli)
@click.argument("backbone")
def finetune(context: Context, *, backbone: str) -> None:
    """Trains the last blocks of a backbone that is declared with finetune: cache/finetuned/BACKBONE.

    It sees what the catalogue says of the images that only training users show. After an interruption the same command
    goes on: with the images that are not through yet, or behind the last epoch.
    """
    context.settings.require(backbone)
    from pipeline.embed.finetune.stage import finetune

    finetune(context.project, backbone, context.settings)


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

    say(train(context.project, backbone, head, context.settings))


@command(cli)
@click.argument("backbone")
@click.argument("heads", nargs=-1)
@JSON
def evaluate(context: Context, *, backbone: str, heads: Names, as_json: bool) -> None:
    """Scores the test split with trained heads (default: those compared): cache/results/BACKBONE, or cache/tried."""
    context.settings.require(backbone, *heads)
    from pipeline.evaluation.evaluate import evaluate

    say(evaluate(context.project, backbone, heads, context.settings, as_json=as_json), asked=as_json)


@command(cli)
def popularity(context: Context) -> None:
    """Scores the test split by popularity alone: cache/results/popularity."""
    from pipeline.evaluation.popularity import evaluate_popularity

    say(evaluate_popularity(context.project, context.settings))


@command(cli)
@click.argument("backbone")
def references(context: Context, *, backbone: str) -> None:
    """Scores the test split with what knows each image's true labels: cache/references/BACKBONE."""
    context.settings.require(backbone)
    from pipeline.evaluation.references import evaluate_references

    say(evaluate_references(context.project, backbone, context.settings))


@command(cli)
def ablate(context: Context) -> None:
    """Trains heads with each peculiarity of the published code: cache/ablation.json."""
    from pipeline.evaluation.ablation import ablate

    say(ablate(context.project, context.settings))


@command(cli)
def conditions(context: Context) -> None:
    """Trains heads on simulated users for whom labels are not just what photos show: cache/conditions.json."""
    from pipeline.evaluation.conditions import compare_under_conditions

    say(compare_under_conditions(context.project, context.settings))


@command(cli)
@click.argument("backbone")
def cost(context: Context, *, backbone: str) -> None:
    """Measures what each compared head costs on a backbone, on this machine: cache/cost/BACKBONE.json."""
    context.settings.require(backbone)
    from pipeline.evaluation.cost import measure_heads

    say(measure_heads(context.project, backbone, context.settings))


@command(cli)
@click.argument("old", required=False)
@click.argument("new", nargs=-1)
@JSON
def swap(context: Context, *, old: str | None, new: Names, as_json: bool) -> None:
    """Heads of OLD on NEW's vectors (default: what the settings list under swap): cache/adapters, cache/swap."""
    pairs = context.settings.swaps(old, new)
    from pipeline.swap.stage import swap

    say(swap(context.project, pairs, context.settings, as_json=as_json), asked=as_json)


@command(cli)
@click.argument("old", required=False)
@click.argument("new", nargs=-1)
def merge(context: Context, *, old: str | None, new: Names) -> None:
    """Merges the adapters that visagg swap made (same arguments) into heads of OLD: cache/merged/OLD/NEW/HEAD."""
    pairs = context.settings.swaps(old, new)
    from pipeline.swap.merging import merge

    say(merge(context.project, pairs, context.settings))


@command(cli)
def gallery(context: Context) -> None:
    """Some test users, their images and every head's answer, for the report's page: cache/gallery.json."""
    from pipeline.report.gallery import make_gallery

    say(make_gallery(context.project, context.settings))


@command(cli)
def report(context: Context) -> None:
    """Saved results to tables, plots and a page: reports/."""
    from pipeline.report.stage import report

    say(report(context.project, context.settings))
