"""A trained model to answer, to carry away and to show."""

from pathlib import Path
from typing import Any

import click

from pipeline.cli.group import FILE, Context, cli, command

FOLDER = click.Path(path_type=Path, file_okay=False)
PHOTOS = click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))


@command(cli)
@PHOTOS
@click.option("--model", metavar="BACKBONE/HEAD", help="Or an exported folder.  [default: the best on validation]")
@click.option("--json", "as_json", is_flag=True, help="All labels, with every photo's weight, as JSON.")
@click.option("--html", type=FILE, help="Writes a page that shows the photos.")
@click.option("--each-folder", is_flag=True, help="Each folder below PHOTOS is a set of its own.")
@click.option("--table", type=FILE, help="With --each-folder: where the table of sets goes, .csv or .parquet.")
def predict(
    context: Context,
    *,
    photos: tuple[Path, ...],
    model: str | None,
    as_json: bool,
    html: Path | None,
    each_folder: bool,
    table: Path | None,
) -> None:
    """The interests of the person whose PHOTOS (files, folders, zip files) these are.

    With --each-folder, of many people: a table with a row for each folder.
    """
    if each_folder != (table is not None) or (each_folder and (as_json or html)):
        raise click.UsageError("--each-folder and --table go together, and without --json and --html")
    from pipeline.export.predict.stage import Wanted, predict

    wanted = Wanted(photos, model=model, as_json=as_json, html=html, table=table)
    click.echo(predict(context.project, wanted, lambda: context.settings))


@command(cli)
@click.argument("backbone")
@click.argument("head")
@click.option("--to", "folder", type=FOLDER, required=True, help="Where the folder goes.")
@click.option("--float32", is_flag=True, help="Store the ONNX files' weights in 32 bits: twice the size.")
@click.option("--app", is_flag=True, help="With the application: a page that works on a phone, without network.")
@click.option("--single", is_flag=True, help="With --app: also one HTML file that needs no server.")
@click.option("--runtime", type=FOLDER, help="With --app: a folder with the two files of onnxruntime-web, without npm.")
@click.option("--litert", is_flag=True, help="Also files for LiteRT; needs pip install 'visagg[litert]'.")
def export(context: Context, *, backbone: str, head: str, folder: Path, float32: bool, **form: Any) -> None:
    """A trained HEAD and its BACKBONE to a folder that anyone can use: card, configuration, safetensors, ONNX, app.

    HEAD_from_OLD is a head of the backbone OLD whose adapter visagg merge has merged in. What is written is compared
    with the trained model on photos of test users; a folder that differs is not left.
    """
    if (form["single"] or form["runtime"]) and not form["app"]:
        raise click.UsageError("--single and --runtime belong to --app")
    from pipeline.export.stage import Form, export

    wanted = Form(half=not float32, **form)
    click.echo(export(context.project, (backbone, head), folder, form=wanted, settings=context.settings))


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
def serve(*, folder: Path, port: int) -> None:
    """Shows the application of an exported FOLDER on the local network, for a first try."""
    from pipeline.export.serve import serve

    serve(folder, port=port)
