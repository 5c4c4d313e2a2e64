"""A site joins a federation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, at, home_of, named, print_json, say

if TYPE_CHECKING:
    from fedtui.operations._joining import Pending


@app.command()
@named
def join(
    invitation: Annotated[
        str | None, typer.Argument(help="The code or the file from the coordinator's operator.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Stay until the coordinator has confirmed.")
    ] = True,
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
    """Join a federation: pin its coordinator, make this site's keys, register the public one."""
    from fedtui import operations
    from fedtui.errors import UsageError

    place = home_of(home)
    if invitation and not flower:
        if Path(invitation).exists() and operations.needs_key(Path(invitation)):
            _say_joined(operations.join(place, Path(invitation)), at(home), json_=json_)
            return
        pending = operations.claim(place, invitation)
        _wait(pending, at(home), wait=wait, json_=json_)
        return
    if flower and ca is not None and study is not None:
        member = operations.join_flower(place, flower, authority=ca, agreed=study)
        _say_joined(member, at(home), json_=json_)
        return
    raise UsageError(
        "join needs an invitation, or --flower HOST:PORT with --ca and --study.",
        remedy="Ask the coordinator's operator for the code that 'fedtui invite' prints.",
    )


def _wait(pending: "Pending", again: str, *, wait: bool, json_: bool) -> None:
    from fedtui import operations

    say(f"{pending.coordinator} at {pending.member.address} invited this site as {pending.site}.")
    say(f"The six words of this enrolment:  {pending.words}")
    enrolled = pending.enrolled
    if not enrolled and wait:
        say(f"Read them to {pending.coordinator}'s operator by phone; waiting for 'fedtui sites")
        say(f"--confirm {pending.site}' there. Ctrl-C loses nothing; what goes on asking is")
        say(f"fedtui up{again}")
        operations.await_confirmation(pending, on_trouble=_say_trouble)
        enrolled = True
    if json_:
        print_json(
            {
                "schema": 1,
                "site": pending.site,
                "coordinator": pending.coordinator,
                "address": pending.member.address,
                "words": pending.words,
                "state": "enrolled" if enrolled else "pending",
            }
        )
    elif enrolled:
        typer.echo(f"{pending.site} is enrolled at {pending.member.address}")
        say(f"Next: fedtui up{again}")
    else:
        typer.echo(f"{pending.site} waits for confirmation; its words: {pending.words}")
        say(f"Next: read them to the coordinator's operator, and fedtui up{again}")


def _say_trouble(trouble: str) -> None:
    say(f"{trouble} Asking again." if trouble else "The coordinator answers again.")


def _say_joined(member: Any, again: str, *, json_: bool) -> None:
    from fedtui import certificates

    fingerprint = certificates.fingerprint(member.authority.encode())
    if json_:
        print_json({"schema": 1, "address": member.address, "authority": fingerprint})
    else:
        typer.echo(f"joined {member.address}, authority {fingerprint}")
        say(f"Next: fedtui up{again}")
