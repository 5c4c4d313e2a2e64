"""A site leaves its federation."""

from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, home_of, named, print_json, say


@app.command()
@named
def leave(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Also out of a run; it goes on as its quorum allows.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """End this site's membership: tell the coordinator, and stop. Journal and keys stay.

    Exit codes: 3 or 5 where it left and the coordinator could not be told, 4 during a run.
    """
    import sys

    from fedtui import operations
    from fedtui.errors import UsageError

    place = home_of(home)
    own, member = operations.leaving(place)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("leave asks before it acts.", remedy="fedtui leave --yes")
        if not typer.confirm(
            f"Does {own.name} leave the federation at {member.address}?", err=True
        ):
            raise typer.Exit(1)
    told = operations.leave(place, now=now)
    untold = told.untold
    if json_:
        document = {"schema": 1, "site": told.site, "address": told.address, "told": not untold}
        print_json(document | (untold.to_json() if untold else {}))
    else:
        typer.echo(f"{told.site} has left the federation at {told.address}")
        if untold:
            say(f"The coordinator does not know: {untold}")
            say(f"  {untold.remedy}")
        else:
            say(f"What stays: {place.path}, with journal, ledgers and keys.")
    if untold:
        raise typer.Exit(untold.exit_code)
