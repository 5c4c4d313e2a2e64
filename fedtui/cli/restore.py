"""A home back from a backup, on this host or another; a coordinator that has moved."""

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._passphrase import PassphraseOption, passphrase
from fedtui.cli._shared import HomeOption, JsonOption, app, at, home_of, named, print_json, say


@app.command()
@named
def restore(
    file: Annotated[Path | None, typer.Argument(help="What 'fedtui backup' wrote.")] = None,
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Where the coordinator is dialled from now on; without FILE, of this home.",
        ),
    ] = "",
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Go on with a home that is older than peers saw it."),
    ] = False,
    passphrase_file: PassphraseOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Open a backup into an empty home."""
    from dataclasses import asdict

    from fedtui import operations
    from fedtui.errors import UsageError

    place = home_of(home)
    if file is not None and not accept:
        operations.restorable(place, file, address=address)
        done = operations.restore(place, file, passphrase(passphrase_file), address=address)
        if json_:
            print_json({"schema": 1, **asdict(done)})
            return
        typer.echo(f"restored {done.site}: {done.path}, as of {done.written}")
        say(f"Its journal holds ({done.records} records). What came later is lost here; peers are")
        say(f"told. Make sure that the old home runs nowhere any more, then: fedtui up{at(home)}")
    elif accept and file is None and not address:
        reached = operations.accept_older(place)
        if json_:
            print_json({"schema": 1, "accepted": reached})
            return
        typer.echo(f"accepted: the journal goes on after record {reached}")
        say("The agent takes work again within 20 s.")
    elif address and file is None and not accept:
        dialled = operations.readdress(place, address)
        if json_:
            print_json({"schema": 1, "address": dialled})
            return
        typer.echo(f"the coordinator is dialled at {dialled}")
        say(f"Next: fedtui up{at(home)}, then fedtui check{at(home)}")
    else:
        raise UsageError(
            "restore needs one of FILE, --address HOST[:PORT] or --accept.",
            remedy="FILE may be given with --address.",
        )
