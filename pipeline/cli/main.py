"""Runs the command line."""

import gc
import os
import sys

import click

from pipeline.cli import models, sources, stages, tools  # noqa: F401 (the commands join their group)
from pipeline.cli.group import cli
from pipeline.core.failure import explain, heed_destructors, heed_signals, ignore_signals, stopped
from pipeline.core.progress import Speech


def main() -> None:
    """Runs the command line; exits with 0, 1 (a fault that the user can mend), 2 (usage), 130 (Ctrl-C) or 143."""
    heed_destructors()
    heed_signals()
    try:
        status = _run()
        ignore_signals()  # the work is done: what comes too late to stop it changes nothing
    except (KeyboardInterrupt, click.Abort) as error:
        _stop(error)
    gc.collect()  # what a fault held goes now, where destructors are heeded, and not when Python ends
    sys.exit(status)


def _run() -> int | None:
    """Runs a command; a fault that the user can mend is a line."""
    try:
        return cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as error:
        raise (error.__cause__ or error.__context__ or error) from None  # click puts it in the place of Ctrl-C
    except Exception as error:
        if not (failure := explain(error)) or Speech.verbose:
            raise  # a fault of the program's own, or one that is to be looked at: the traceback shows where it is
        click.echo(f"visagg: {failure[0]}", err=True)
        return failure[1]


def _stop(error: BaseException) -> None:
    """Says what is kept and ends at once: threads that are still in a library do not outlive the interpreter."""
    ignore_signals()
    line, status = stopped(error)
    click.echo(f"visagg: {line}", err=True)
    gc.collect()
    sys.stdout.flush()
    os._exit(status)
