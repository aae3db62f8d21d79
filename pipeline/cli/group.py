"""What all commands stand on: the root, and the context that they get."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from pipeline.core.progress import Speech, Work
from pipeline.project import Project
from pipeline.settings.settings import Settings, load

VERSION = next((package.version for package in metadata.distributions(name="visagg")), "unknown: it is not installed")
Names = tuple[str, ...]
COUNT = click.IntRange(1)
FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class Context:
    """What commands get: the project, and where its settings are read from, if not from their usual file.

    Attributes:
        project: its files.
        path: the settings' file; None: the usual one.
        changes: of settings, KEY=VALUE each, for this command alone.
    """

    project: Project
    path: Path | None
    changes: Names = ()

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once and only by commands that need them."""
        return load(self.path or self.project.settings, self.changes)


def command(group: click.Group, name: str | None = None) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a function a command of a group; it gets the Context first."""
    return lambda function: group.command(name)(click.pass_obj(_announced(function)))


def _announced(function: Callable[..., None]) -> Callable[..., None]:
    """A command that says what it does, should it take a while and say nothing."""

    @wraps(function)
    def announced(*args: Any, **options: Any) -> None:
        current = click.get_current_context()
        words = [current.params[p.name] for p in current.command.params if isinstance(p, click.Argument) and p.name]
        named = [str(w) for word in words for w in (word if isinstance(word, tuple) else [word]) if w]
        does = re.split(r" \(|[:.\n]", current.command.help or "")[0]
        with Work(f"{' '.join([str(current.info_name), *named])}: {does[:1].lower()}{does[1:]}"):
            function(*args, **options)

    return announced


def say(text: str, *, asked: bool = False) -> None:
    """Says what a stage has made, in a line or some, unless the program is to be quiet and nobody asked for it."""
    if asked or not Speech.quiet:
        click.echo(text)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="visagg")
@click.option("--params", "path", type=FILE, help="The settings.  [default: pipeline/params.yaml]")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting for this command alone, such as "
    "train.patience=5 or compare.heads='[average, noisy_or]'. dvc repro goes by the file of the settings.",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but faults, and what was asked for.")
@click.option("-v", "--verbose", is_flag=True, help="Say how far it is every five seconds; of a fault, where it arose.")
@click.pass_context
def cli(context: click.Context, *, path: Path | None, changes: Names, quiet: bool, verbose: bool) -> None:
    """A person's interests from a set of product photos: the stages that dvc repro runs, one by one, and tools."""
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    Speech.choose(quiet=quiet, verbose=verbose)
    context.obj = Context(Project(), path, changes)
