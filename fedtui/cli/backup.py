"""The home in one sealed file."""

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._passphrase import PassphraseOption, passphrase
from fedtui.cli._shared import HomeOption, JsonOption, app, home_of, named, print_json, say


@app.command()
@named
def backup(
    to: Annotated[Path, typer.Argument(help="A new file, or a folder that gets one.")],
    with_runs: Annotated[
        bool, typer.Option("--with-runs", help="Every run's last checkpoint and model too.")
    ] = False,
    passphrase_file: PassphraseOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Seal settings, keys, roster and journal into one file, beside running processes."""
    from dataclasses import asdict

    from fedtui import operations

    place = home_of(home)
    operations.backup_target(place, to)
    secret = passphrase(passphrase_file, twice=True)
    done = operations.backup(place, to, secret, with_runs=with_runs)
    if json_:
        print_json({"schema": 1, **asdict(done)})
        return
    typer.echo(done.path)
    say(
        f"{done.files} files, {done.records} records of {done.site}'s journal, as of {done.written}"
    )
    say("It holds this site's private keys: whoever has it and the passphrase is this site.")
