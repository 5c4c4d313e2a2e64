"""This site's key: shown, changed."""

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, group, home_of, named, print_json, say

keys = group("Show or change this site's key.")
app.add_typer(keys, name="keys")


@keys.command()
@named
def show(home: HomeOption = None, json_: JsonOption = False) -> None:
    """The fingerprint of this site's public key, as 'fedtui sites' shows it at the coordinator."""
    from fedtui import keys as own
    from fedtui import site

    place = home_of(home)
    name = site.load(place).name
    key = own.fingerprint(own.load_private(place.keys / "node.key").public_key())
    if json_:
        print_json({"schema": 1, "site": name, "key": key})
    else:
        typer.echo(f"{name} {key}")


@keys.command()
@named
def rotate(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Make a new key, which the old one hands over to; a run under way does not notice."""
    from fedtui import operations

    told = operations.rotate(home_of(home))
    if json_:
        print_json({"schema": 1, **told})
        return
    typer.echo(told["key"])
    say(f"The old key {told['old'][:14]}… is gone here and at the coordinator.")
