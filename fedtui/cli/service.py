"""The home as a systemd service."""

from typing import Annotated, Any, Literal

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, group, home_of, named, print_json, say

service = group("Run this home under systemd.")
app.add_typer(service, name="service")


@service.command()
@named
def install(
    user: Annotated[bool, typer.Option("--user", help="This user's systemd.")] = False,
    system: Annotated[bool, typer.Option("--system", help="The host's; default for root.")] = False,
    print_: Annotated[bool, typer.Option("--print", help="Only show the unit.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a hardened unit, enable it and start it."""
    import os

    from fedtui import operations
    from fedtui.errors import UsageError

    if user and system:
        raise UsageError("--user and --system exclude each other.", remedy="Choose one.")
    scope: Literal["user", "system"] = "user"
    if system or (os.geteuid() == 0 and not user):
        scope = "system"
    place = home_of(home)
    if print_:
        text = operations.service_unit(place, scope)
        if json_:
            print_json({"schema": 1, "scope": scope, "text": text})
        else:
            typer.echo(text, nl=False)
        return
    told = operations.install_service(place, scope)
    if json_:
        print_json({"schema": 1, **told})
        return
    _tell(told)
    if told["moved"]:
        say("What ran detached runs under systemd now; a run goes on.")


@service.command()
@named
def remove(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Stop the service and remove its unit; the home stays."""
    from fedtui import operations

    told = operations.remove_service(home_of(home))
    if json_:
        print_json({"schema": 1, **told})
    else:
        typer.echo(f"removed {told['removed']}")
        say("The home is as it was; 'fedtui up' starts it without systemd.")


@service.command()
@named
def status(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Say whether the service is installed, enabled and running."""
    from fedtui import operations

    told = operations.service_status(home_of(home))
    if json_:
        print_json({"schema": 1, **told})
    else:
        _tell(told)


def _tell(told: dict[str, Any]) -> None:
    typer.echo(f"unit       {told['unit']}")
    if not told["installed"]:
        typer.echo("state      not installed")
        say("Next: fedtui service install")
        return
    typer.echo(f"file       {told['file']} ({told['scope']})")
    typer.echo(f"state      {told['active']} ({told['state']}), {told['enabled']}")
    if told["pid"]:
        typer.echo(f"process    {told['pid']}, restarted {told['restarts']} times")
    if not told["current"]:
        say("The unit is not what this fedtui would write: run 'fedtui service install' again.")
    if told["linger"] is False:
        say(f"It ends at logout and does not start at boot: loginctl enable-linger {told['user']}")
