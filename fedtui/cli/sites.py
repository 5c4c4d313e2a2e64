"""The coordinator's sites: invited, confirmed, suspended, revoked, listed."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, at, home_of, named, print_json, say


@app.command()
@named
def invite(
    name: Annotated[str, typer.Argument(help="The site to invite: a-z, 0-9 and -.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="A file instead of a code; it is as secret.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="No secret: enrol this public key at once, e.g. a SuperNode's."),
    ] = None,
    address: Annotated[
        str, typer.Option(help="HOST:PORT that this site dials, if not the usual.")
    ] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Invite a site: a code that works once, within 72 hours."""
    from fedtui import keys, operations

    place = home_of(home)
    if key is not None:
        text = operations.invite(place, name, public_key=key, address=address)
        if to is not None:
            keys.write_atomically(to.absolute(), text.encode())
            say(f"{to}: send it to {name}, which joins with 'fedtui join FILE'.")
        if to is None or json_:
            typer.echo(text)
        return
    made = operations.issue(place, name, address=address, by_file=to is not None)
    if to is not None:
        keys.write_atomically(to.absolute(), made.file.encode())
    if json_:
        print_json(
            {
                "schema": 1,
                "site": name,
                "code": made.code,
                "file": str(to.absolute()) if to else "",
                "until": made.until,
            }
        )
        return
    typer.echo(str(to) if to else made.code)
    say(f"For {name} alone, once, within 72 hours; whoever holds it can ask to be {name}.")
    say(f"There: fedtui join {'FILE' if to else 'CODE'}. Then have its six words read to you, and")
    say(f"here: fedtui sites --confirm {name}{at(home)}")
    if made.replaces:
        say(f"{name} is enrolled already: on confirmation its new key takes the place of the old.")


@app.command()
@named
def sites(
    confirm: Annotated[
        str, typer.Option(metavar="SITE", help="Enrol it, once its six words were read to you.")
    ] = "",
    words: Annotated[
        str, typer.Option(help="These words, in quotes; on a terminal you are asked for them.")
    ] = "",
    decline: Annotated[
        str, typer.Option(metavar="SITE", help="Refuse it, or take its invitation back.")
    ] = "",
    suspend: Annotated[
        str,
        typer.Option(
            metavar="SITE",
            help="Refuse what it sends and ask it nothing until --resume; its key stays.",
        ),
    ] = "",
    resume: Annotated[
        str,
        typer.Option(
            metavar="SITE",
            help="Take a suspended site back as it was; a paused run is 'fedtui resume'.",
        ),
    ] = "",
    revoke: Annotated[
        str,
        typer.Option(
            metavar="SITE", help="Take it off the roster for good; it can only join anew."
        ),
    ] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """List the coordinator's sites, or say who belongs to them."""
    from fedtui import operations
    from fedtui.errors import UsageError

    place = home_of(home)
    if confirm:
        listed = operations.sites(place)
        pending = any(e["site"] == confirm and e["state"] == "pending" for e in listed)
        if pending and not words and sys.stdin.isatty():
            words = typer.prompt(f"The six words that {confirm}'s operator reads to you", err=True)
        if pending and not words:
            raise UsageError(
                "The six words are missing.",
                remedy=f'fedtui sites --confirm {confirm} --words "…", as they were read to you.',
            )
        operations.confirm(place, confirm, words)
    if decline:
        operations.decline(place, decline)
    if suspend:
        operations.suspend(place, suspend)
    if resume:
        operations.suspend(place, resume, suspended=False)
    if revoke:
        operations.revoke(place, revoke)
    listed = operations.sites(place)
    if json_:
        print_json({"schema": 1, "sites": listed})
        return
    for entry in listed:
        typer.echo(f"{entry['site']:<24} {entry['state']:<10} {_detail(entry)}".rstrip())


def _detail(entry: dict[str, Any]) -> str:
    state = entry["state"]
    if state == "pending":
        return f"{entry['words']}   from {entry['origin']}; fedtui sites --confirm {entry['site']}"
    if state == "invited":
        return f"until {entry['until']}, {entry['tries_left']} tries left"
    if state == "void":
        return "five wrong proofs were made in its name; invite it anew"
    if state == "expired":
        return f"on {entry['until']}; invite it anew"
    return str(entry["key"])
