"""The one place that opens the dashboard: on a home, or over an exported log."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli._shared import HomeOption, app, home_of, named

MouseOption = Annotated[bool, typer.Option("--mouse", help="Take the mouse; off, you can select.")]
AsciiOption = Annotated[
    bool, typer.Option("--ascii", help="Draw with ASCII only, whatever the terminal says.")
]
DiffOption = Annotated[
    bool, typer.Option("--no-diff", help="Send whole widgets, as Textual does, not changed cells.")
]


def open_on(home: Any, *, mouse: bool, ascii_: bool, readonly: bool, no_diff: bool) -> int:
    """The dashboard on ``home``; returns the exit code."""
    from fedtui import operations
    from fedtui.tui import app as dashboard

    if home.settings.exists():
        operations.known(home)  # one that is broken is named before the screen changes
    return dashboard.run(
        home, mouse=mouse, ascii=ascii_ or None, readonly=readonly, diff=not no_diff
    )


@app.callback()
@named
def start(
    context: typer.Context,
    home: HomeOption = None,
    mouse: MouseOption = False,
    ascii_: AsciiOption = False,
    readonly: Annotated[bool, typer.Option("--readonly", help="Look only; no orders.")] = False,
    no_diff: DiffOption = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from fedtui import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        place = home_of(home)
        code = open_on(place, mouse=mouse, ascii_=ascii_, readonly=readonly, no_diff=no_diff)
        raise typer.Exit(code)


@app.command()
@named
def replay(
    log: Annotated[Path, typer.Argument(help="An export's folder, or a file of JSON lines.")],
    speed: Annotated[float, typer.Option(min=0.0, help="Times as fast; 0 shows the end.")] = 1.0,
    mouse: MouseOption = False,
    ascii_: AsciiOption = False,
    no_diff: DiffOption = False,
) -> None:
    """Play an exported run again, in the very same dashboard."""
    from fedtui.tui import app as dashboard

    path = log / "journal.jsonl" if log.is_dir() else log
    code = dashboard.replay(path, speed=speed, mouse=mouse, ascii=ascii_ or None, diff=not no_diff)
    raise typer.Exit(code)
