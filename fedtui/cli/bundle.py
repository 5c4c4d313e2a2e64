"""This fedtui, taken to a host without a network."""

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._shared import JsonOption, app, named, print_json, say


@app.command()
@named
def bundle(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    python: Annotated[str, typer.Option(help="The other host's, e.g. 3.12; default as here.")] = "",
    platform: Annotated[str, typer.Option(help="linux-x86_64 or linux-aarch64.")] = "",
    glibc: Annotated[str, typer.Option(help="Its version there, as 'ldd --version' says.")] = "",
    extra: Annotated[
        list[str] | None, typer.Option(help="One of fedtui's extras, e.g. gpu; repeat for more.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Fetch every wheel with its hash, for an installation without a network."""
    from dataclasses import asdict

    from fedtui import operations

    wanted = operations.bundle_target(python, platform, glibc, tuple(extra or ()))
    say(f"For Python {wanted.python}, {wanted.platform}, glibc 2.{wanted.glibc} or newer.")
    done = operations.bundle(to, wanted)
    if json_:
        print_json({"schema": 1, **asdict(done)})
        return
    typer.echo(f"{done.path}: fedtui {done.version}, {done.wheels} wheels, {done.bytes >> 20} MB")
    say("Copy the folder to the other host, and there: sh install.sh [FOLDER]")
