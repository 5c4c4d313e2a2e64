"""A site's home: made, started, stopped."""

from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, at, home_of, named, print_json, say


@app.command()
@named
def init(
    name: Annotated[str, typer.Argument(help="The site's name: a-z, 0-9 and -.")],
    home: HomeOption = None,
    coordinator: Annotated[bool, typer.Option("--coordinator", help="Also coordinate.")] = False,
    coordinator_only: Annotated[
        bool, typer.Option("--coordinator-only", help="Coordinate, without data or trainer.")
    ] = False,
    host: Annotated[str, typer.Option(help="Where a coordinator listens.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Its one TLS port.")] = 8443,
    address: Annotated[
        list[str] | None,
        typer.Option(help="Name or IP under which sites dial it; repeat for more."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Make a site's home: settings, keys, journal."""
    from fedtui import operations

    place = home_of(home)
    made = operations.create(
        place,
        name,
        coordinator=coordinator or coordinator_only,
        data=not coordinator_only,
        host=host,
        port=port,
        names=tuple(address or ()),
    )
    if json_:
        print_json({"schema": 1, "site": made.name, "roles": made.roles, "home": str(place.path)})
        return
    typer.echo(f"{made.name}: {place.path}")
    if made.coordinates:
        say(f"Next: fedtui up{at(home)}, then fedtui invite SITE{at(home)} for each other site.")
    else:
        say("Next: ask the coordinator's operator for an invitation, then")
        say(f"fedtui join CODE{at(home)}")


@app.command()
@named
def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, as systemd wants it; end with Ctrl-C.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Start this home's processes; they outlive the terminal."""
    from fedtui import operations

    if foreground:
        operations.serve(home_of(home), json_=json_)
    before = operations.answering(home_of(home))
    started = operations.up(home_of(home))
    if json_:
        print_json({"schema": 1, "up": started, "already": list(before)})
    else:
        typer.echo(f"{'already up' if set(started) <= set(before) else 'up'}: {', '.join(started)}")


@app.command()
@named
def down(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Stop this home's processes; a run goes on when they are up again."""
    from fedtui import operations

    stopped = operations.down(home_of(home))
    if json_:
        print_json({"schema": 1, "stopped": stopped})
    else:
        typer.echo("down" if stopped else "nothing was running")
