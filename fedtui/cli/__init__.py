"""The headless door: every command, its flags, its output and its exit code.

Only typer is imported at the top; everything else inside the command that needs it, so that
``--help`` and ``status`` stay as quick as typer itself.
"""

import importlib
import os
import pkgutil
import sys

from fedtui.cli._shared import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the ``fedtui`` command."""
    os.umask(0o077)  # whatever a command writes may hold data or keys
    _register(sys.argv[1:])
    try:
        app()
    except BrokenPipeError:  # `fedtui logs | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _register(words: list[str]) -> None:
    """Import the files of commands; of a command with a file of its own name, only that file."""
    files = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    wanted = [words[0]] if words and words[0] in files else sorted(files)
    for name in dict.fromkeys(("dashboard", *wanted)):  # it also answers when no command is given
        importlib.import_module(f"fedtui.cli.{name}")
