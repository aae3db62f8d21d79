"""What comes before the stages: simulated sources, what would become of a source, and settings of others."""

from pathlib import Path
from typing import Any, get_args

import click

from pipeline.cli.group import COUNT, Context, cli, command
from pipeline.core.errors import SourceError
from pipeline.settings.sections import SourceSettings

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING = click.Path(path_type=Path, file_okay=False, exists=True)
TABLE = click.Path(path_type=Path, dir_okay=False, exists=True)
LAYOUTS = ("table", "dvbpr")
FORMATS = get_args(SourceSettings.model_fields["name"].annotation)


@cli.command()
@click.argument("photos", type=EXISTING, required=False)
@click.option("--to", "folder", type=FOLDER, required=True, help="Where the source goes: a new or empty folder.")
@click.option("--users", type=COUNT, help="How many are simulated.  [default: 4000; of --items 275 in a thousand]")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of all that is simulated.")
@click.option("--photos", "bought", type=(COUNT, COUNT), help="Fewest and most that a user buys.  [default: 3 14]")
@click.option("--labels", type=TABLE, help="What folders show, where that is not their name: path, categories.")
@click.option("--link", is_flag=True, help="Links to the photos instead of copies.")
@click.option("--items", type=COUNT, help="Without PHOTOS: so many items, each with a picture that is drawn for it.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="Of --items.  [default: table]")
@click.option("--jobs", type=COUNT, help="Processes that draw --items.  [default: one a core]")
def simulate(*, photos: Path | None, folder: Path, users: int | None, seed: int, **given: Any) -> None:
    """A source of simulated users: they buy PHOTOS, a folder of class folders, or a catalogue that is drawn for them.

    A class is a folder of photos, and may lie in others: Clothing/Tops. Where categories are not the folders' names,
    labels.csv in PHOTOS, or --labels, has the columns path (of a folder or a photo) and categories, such as
    "Clothing > Tops|Sale". All that is made of such a source is called simulated.
    """
    from pipeline.ingest.simulated.request import OfItems, OfPhotos, Request, simulate

    of_photos = OfPhotos(given["bought"], given["labels"], given["link"])
    of_items = OfItems(given["items"], given["layout"], given["jobs"])
    click.echo(simulate(photos, folder, Request(of_photos, of_items, users, seed)))


@command(cli)
@click.argument("file", type=TABLE)
def settings(context: Context, *, file: Path) -> None:
    """Writes the settings in FILE over those in params.yaml, such as those behind a table: reports/settings.

    What FILE does not name stays, and so do all comments.
    """
    from pipeline.settings.overlay import write_over

    click.echo(write_over(context.path or context.project.settings, file))


@command(cli)
@click.option("--source", type=click.Choice(FORMATS), help="Another format than the settings name.")
@click.option("--path", help="Another file or folder than the settings name.")
@click.option("--json", "as_json", is_flag=True, help="Counts, reasons and examples as JSON.")
def check(context: Context, *, source: str | None, path: str | None, as_json: bool) -> None:
    """Reads a source as ingest would, writes nothing, and says what would be rejected, with examples.

    Exits with 1 if ingest would stop.
    """
    from pipeline.ingest.check import check

    finding = check(context.project, context.settings.of_source(source, path))
    click.echo(finding.as_json() if as_json else finding.as_text())
    if finding.fault:
        raise SourceError(finding.fault)
