"""The headless door: every command, its flags, its output and its exit code.

Only typer is imported at the top; everything else inside the command that needs it, so that
``--help`` and ``status`` stay as quick as typer itself.
"""

import os
import sys
from typing import Annotated

import typer

from fedtui.cli import homes, records, runs
from fedtui.cli._shared import HomeOption, app, named

__all__ = ["app", "homes", "main", "records", "runs"]


def main() -> None:
    """Entry point of the ``fedtui`` command."""
    os.umask(0o077)  # whatever a command writes may hold data or keys
    try:
        app()
    except BrokenPipeError:  # `fedtui logs | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@app.callback()
@named
def start(
    context: typer.Context,
    home: HomeOption = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from fedtui import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
