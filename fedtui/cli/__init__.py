"""The headless door: every command, its flags, its output and its exit code.

Only typer is imported at the top; everything else inside the command that needs it, so that
``--help`` and ``status`` stay as quick as typer itself.
"""

import importlib
import json
import os
import pkgutil
import sys

import click
import typer

from fedtui.cli._shared import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the ``fedtui`` command."""
    os.umask(0o077)  # whatever a command writes may hold data or keys
    words = sys.argv[1:]
    _register(words)
    try:
        # Not standalone: click would tell a mistake in words where JSON is asked for.
        code = typer.main.get_command(app).main(words, standalone_mode=False)
    except click.ClickException as error:
        code = _mistaken(error, json_="--json" in words)
    except click.Abort:
        typer.echo("Aborted!", err=True)
        code = 1
    except BrokenPipeError:  # `fedtui logs | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _mistaken(error: click.ClickException, *, json_: bool) -> int:
    """Say what click could not make sense of, and how to find what there is."""
    if not json_:
        error.show()
        return error.exit_code
    from fedtui.errors import UsageError

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "fedtui"
    told = UsageError(error.format_message(), remedy=f"See '{path} --help'.").to_json()
    typer.echo(json.dumps(told))
    return error.exit_code


def _register(words: list[str]) -> None:
    """Import the files of commands; of a command with a file of its own name, only that file."""
    files = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    wanted = [words[0]] if words and words[0] in files else sorted(files)
    for name in dict.fromkeys(("dashboard", *wanted)):  # it also answers when no command is given
        importlib.import_module(f"fedtui.cli.{name}")
