"""Runs the command line."""

import gc
import sys

import click

from pipeline.cli import models, sources, stages, tools  # noqa: F401 (the commands join their group)
from pipeline.cli.group import cli
from pipeline.core.failure import STOPPED, explain, heed_destructors


def main() -> None:
    """Runs the command line; exits with 0, 1 (a fault that the user can mend), 2 (usage) or 130 (Ctrl-C)."""
    heed_destructors()
    status = _run()
    gc.collect()  # what a fault held goes now, where destructors are heeded, and not when Python ends
    sys.exit(status)


def _run() -> int | None:
    """Runs a command; a fault that the user can mend is a line."""
    try:
        return cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if not (failure := STOPPED if isinstance(error, click.Abort | KeyboardInterrupt) else explain(error)):
            raise  # a fault of the program's own: the traceback is what its author needs
        click.echo(f"visagg: {failure[0]}", err=True)
        return failure[1]
