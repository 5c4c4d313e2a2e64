"""A site: made, joined to a federation, started, stopped, looked at."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, home_of, named, print_json, say


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
        say("Next: fedtui up, then fedtui invite SITE --key FILE for each other site.")
    else:
        say(f"Next: send {place.keys / 'node.pub'} to the coordinator's operator and ask for an")
        say("invitation; then fedtui join FILE, and fedtui up.")


@app.command()
@named
def invite(
    name: Annotated[str, typer.Argument(help="The site to invite.")],
    key: Annotated[Path, typer.Option("--key", help="Its public key, keys/node.pub of its home.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="File for the invitation; else stdout.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="HOST:PORT that this site dials, if not the usual.")
    ] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Put a site on the roster and write its invitation."""
    from fedtui import operations

    text = operations.invite(home_of(home), name, public_key=key, address=address)
    if to is not None:
        to.write_text(text, encoding="utf-8")
        say(f"{to}: send it to {name}. Compare the key by phone: {json.loads(text)['key']}")
    if to is None or json_:
        typer.echo(text)


@app.command()
@named
def join(
    invitation: Annotated[
        Path | None, typer.Argument(help="The file from the coordinator's operator.")
    ] = None,
    flower: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="A stock Flower SuperLink instead.")
    ] = "",
    ca: Annotated[Path | None, typer.Option(help="Its certificate authority, PEM.")] = None,
    study: Annotated[
        Path | None, typer.Option(help="The study there; it must say interop = true.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Pin the coordinator of an invitation; nothing is sent yet."""
    from fedtui import keys, operations
    from fedtui.errors import UsageError

    place = home_of(home)
    if invitation is not None and not flower:
        member = operations.join(place, invitation)
    elif flower and ca is not None and study is not None:
        member = operations.join_flower(place, flower, authority=ca, agreed=study)
    else:
        raise UsageError(
            "join needs an invitation, or --flower HOST:PORT with --ca and --study.",
            remedy="Ask the coordinator's operator for the file that 'fedtui invite' wrote.",
        )
    print_ = keys.authority_fingerprint(member.authority.encode())
    if json_:
        print_json({"schema": 1, "address": member.address, "authority": print_})
    else:
        typer.echo(f"joined {member.address}, authority {print_}")
        say("Next: fedtui up.")


@app.command()
@named
def sites(
    revoke: Annotated[str, typer.Option(metavar="SITE", help="Take it off the roster.")] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """List the coordinator's roster, or take a site off it."""
    from fedtui import operations

    if revoke:
        operations.revoke(home_of(home), revoke)
    roster = operations.sites(home_of(home))
    if json_:
        print_json({"schema": 1, "sites": roster})
        return
    for entry in roster:
        typer.echo(f"{entry['site']:<24} {entry['key']}")


@app.command()
@named
def up(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Start this home's processes; they outlive the terminal."""
    from fedtui import operations

    started = operations.up(home_of(home))
    if json_:
        print_json({"schema": 1, "up": started})
    else:
        typer.echo(f"up: {', '.join(started)}")


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
