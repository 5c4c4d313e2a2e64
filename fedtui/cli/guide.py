"""The handbook, on any host and without a network."""

from typing import Annotated

import typer

from fedtui.cli._shared import JsonOption, app, named, print_json


@app.command()
@named
def guide(
    topic: Annotated[str, typer.Argument(help="One of those that 'fedtui guide' lists.")] = "",
    json_: JsonOption = False,
) -> None:
    """The handbook: a first federation, firewalls, own data, privacy, faults, exit codes."""
    from fedtui import guide as handbook

    if json_:
        wanted = [topic] if topic else handbook.TOPICS
        print_json({"schema": 1, "topics": {name: handbook.text(name) for name in wanted}})
    elif topic:
        typer.echo(handbook.text(topic), nl=False)
    else:
        for name in handbook.TOPICS:
            typer.echo(f"{name:<12}{handbook.about(name)}")
