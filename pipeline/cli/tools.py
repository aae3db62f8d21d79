"""What is not a stage: lists, care for the stores, measurements."""

import sys
from pathlib import Path
from typing import Any

import click

from pipeline.cli.group import COUNT, FILE, Context, Names, cli, command

PHOTOS = click.Path(path_type=Path, file_okay=False, exists=True)
JSON_FILE = click.option("--json", "json_path", type=FILE, help="Where the values go.")


@cli.command()
@click.option("--dim", type=COUNT, default=1024, show_default=True, help="Numbers a vector.")
@click.option("--classes", type=COUNT, default=1000, show_default=True, help="Labels.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with name, parameters and spec.")
def heads(*, dim: int, classes: int, as_json: bool) -> None:
    """Lists the named heads and how many parameters they have."""
    from pipeline.heads.presets import listing

    click.echo(listing(dim, classes, as_json=as_json))


@command(cli)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, with all labels.")
def data(context: Context, *, as_json: bool) -> None:
    """Shows what the catalogue and the sets hold, and what could not be used."""
    from pipeline.sets.overview import describe_data

    click.echo(describe_data(context.project, as_json=as_json))


@cli.group()
def cache() -> None:
    """Looks after the embedding stores."""


@command(cache, "ls")
@click.option("--json", "as_json", is_flag=True, help="A list of objects, one a store.")
def list_stores(context: Context, *, as_json: bool) -> None:
    """Shows each store: what made it, its rows by status, its size."""
    from pipeline.embed.verify import describe_all

    click.echo(describe_all(context.project, as_json=as_json), nl=False)


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


@bench.command("export")
@click.argument("folder", type=PHOTOS)
@click.option("--images", type=PHOTOS, required=True, help="Photos to read.")
@click.option("--photos", type=COUNT, default=20, show_default=True, help="How many of them.")
@click.option("--rounds", type=COUNT, default=5, show_default=True, help="Turns that both runtimes take.")
@JSON_FILE
def bench_export(*, folder: Path, images: Path, json_path: Path | None, **turns: int) -> None:
    """Megabytes of an exported FOLDER, and milliseconds a photo in a headless Chromium against the native runtime."""
    from pipeline.bench.exported import Turns, bench_exported

    click.echo(bench_exported(folder, images, turns=Turns(**turns), json_path=json_path))
