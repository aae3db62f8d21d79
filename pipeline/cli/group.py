"""What all commands stand on: the root, and the context that they get."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import click

from pipeline.project import Project
from pipeline.settings.settings import Settings, load

VERSION = next((package.version for package in metadata.distributions(name="visagg")), "unknown: it is not installed")
Names = tuple[str, ...]
COUNT = click.IntRange(1)
FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class Context:
    """What commands get: the project, and where its settings are read from, if not from their usual file."""

    project: Project
    path: Path | None

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once and only by commands that need them."""
        return load(self.path or self.project.settings)


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
