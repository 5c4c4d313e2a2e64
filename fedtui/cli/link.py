"""Phase 0 as a command: what is wrong with this host or its link, and what to ask for."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, home_of, named, print_json


@app.command()
@named
def check(
    address: Annotated[
        str, typer.Argument(metavar="[HOST:PORT]", help="A coordinator; default the one joined.")
    ] = "",
    invitation: Annotated[
        Path | None, typer.Option(help="Check against an invitation, before joining.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also idle limits, packet size, loss, bandwidth.")
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option("--watch", metavar="N", min=1.0, help="Again every N s; say what changes."),
    ] = None,
    tickets: Annotated[
        bool, typer.Option("--tickets", help="Add the text for the network team.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Explain also what is well.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Name what is wrong with the link or this host, and what to ask for."""
    from fedtui import checks
    from fedtui.operations import findings as records_of

    place = home_of(home)
    here = place if place.settings.exists() else None
    target = None
    if invitation is not None:
        target = checks.from_invitation(invitation)
    elif address:
        target = checks.from_address(address)
    if watch is not None:
        for changed in checks.watch(target, home=here, seconds=watch):
            line = json.dumps(checks.to_json(changed)) if json_ else checks.changes(changed)
            typer.echo(line)
        return
    findings = records_of.check(here, target, deep=deep)
    if json_:
        print_json(checks.to_json(findings))
    else:
        typer.echo(checks.text(findings, tickets=tickets, verbose=verbose))
    raise typer.Exit(checks.exit_code(findings))
