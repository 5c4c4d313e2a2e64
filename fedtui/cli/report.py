"""A run's report: a page for whoever decides, the same as text for the terminal."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, RunArgument, app, home_of, named, print_json


@app.command()
@named
def report(
    run_id: RunArgument = "",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="A new file for the HTML page.")
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="As text; the default on a terminal.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """What a run came to: one HTML page that needs nothing else, or text."""
    from fedtui import operations
    from fedtui.errors import UsageError

    where = home_of(home)
    if json_:
        print_json(operations.report_document(where, run_id))
    elif to is not None:
        if to.exists():
            raise UsageError(f"{to} exists.", remedy="Give a new file with --to.")
        to.write_text(operations.report_page(where, run_id), encoding="utf-8")
        typer.echo(to)
    elif text or sys.stdout.isatty():
        typer.echo("\n".join(operations.report_text(where, run_id)))
    else:
        typer.echo(operations.report_page(where, run_id), nl=False)
