"""The headless door: every command, its flags, its output and its exit code.

Only typer is imported at the top; everything else inside the command that needs it, so that
``--help`` and ``status`` stay as quick as typer itself.
"""

import os
import sys

from fedtui.cli import dashboard, homes, link, records, runs
from fedtui.cli._shared import app

__all__ = ["app", "dashboard", "homes", "link", "main", "records", "runs"]


def main() -> None:
    """Entry point of the ``fedtui`` command."""
    os.umask(0o077)  # whatever a command writes may hold data or keys
    try:
        app()
    except BrokenPipeError:  # `fedtui logs | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
