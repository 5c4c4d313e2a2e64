"""The headless door: every command, its flags, its output and its exit code.

Only typer is imported at the top; everything else inside the command that needs it, so that
``--help`` and ``status`` stay as quick as typer itself.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="fedtui",
    help="The operator's console for a federation of hospitals.",
    rich_markup_mode=None,  # Rich help costs three times typer's own import
    pretty_exceptions_enable=False,
    add_completion=False,
    invoke_without_command=True,
)

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="DIR", help="The site's home; default FEDTUI_HOME.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def main() -> None:
    """Entry point of the ``fedtui`` command."""
    os.umask(0o077)  # whatever a command writes may hold data or keys
    try:
        app()
    except BrokenPipeError:  # `fedtui logs | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _named(command: Callable[P, R]) -> Callable[P, R]:
    """Print an operator's error as words (or JSON with ``--json``) and exit with its code."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        from fedtui.errors import OperatorError, ResourceError

        try:
            try:
                return command(*args, **kwargs)
            except (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError) as e:
                raise ResourceError(
                    f"{e.filename}: {e.strerror}.", remedy="Check the path and who may write there."
                ) from e
        except OperatorError as error:
            if kwargs.get("json_", False):
                typer.echo(json.dumps(error.to_json()))
            else:
                typer.echo(f"fedtui: {error}\n  {error.remedy}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapper


def _home(home: Path | None) -> Any:
    from fedtui import site

    return site.Home((home or site.default_home()).expanduser().absolute())


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


@app.callback()
@_named
def start(
    context: typer.Context,
    home: HomeOption = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from fedtui import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
@_named
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

    place = _home(home)
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
        _print({"schema": 1, "site": made.name, "roles": made.roles, "home": str(place.path)})
        return
    typer.echo(f"{made.name}: {place.path}")
    if made.coordinates:
        _say("Next: fedtui up, then fedtui invite SITE --key FILE for each other site.")
    else:
        _say(f"Next: send {place.keys / 'node.pub'} to the coordinator's operator and ask for an")
        _say("invitation; then fedtui join FILE, and fedtui up.")


@app.command()
@_named
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

    text = operations.invite(_home(home), name, public_key=key, address=address)
    if to is not None:
        to.write_text(text, encoding="utf-8")
        _say(f"{to}: send it to {name}. Compare the key by phone: {json.loads(text)['key']}")
    if to is None or json_:
        typer.echo(text)


@app.command()
@_named
def join(
    invitation: Annotated[Path, typer.Argument(help="The file from the coordinator's operator.")],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Pin the coordinator of an invitation; nothing is sent yet."""
    from fedtui import keys, operations

    member = operations.join(_home(home), invitation)
    print_ = keys.authority_fingerprint(member.authority.encode())
    if json_:
        _print({"schema": 1, "address": member.address, "authority": print_})
    else:
        typer.echo(f"joined {member.address}, authority {print_}")
        _say("Next: fedtui up.")


@app.command()
@_named
def sites(home: HomeOption = None, json_: JsonOption = False) -> None:
    """List the coordinator's roster."""
    from fedtui import operations

    roster = operations.sites(_home(home))
    if json_:
        _print({"schema": 1, "sites": roster})
        return
    for entry in roster:
        typer.echo(f"{entry['site']:<24} {entry['key']}")


@app.command()
@_named
def up(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Start this home's processes; they outlive the terminal."""
    from fedtui import operations

    started = operations.up(_home(home))
    if json_:
        _print({"schema": 1, "up": started})
    else:
        typer.echo(f"up: {', '.join(started)}")


@app.command()
@_named
def down(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Stop this home's processes; a run goes on when they are up again."""
    from fedtui import operations

    stopped = operations.down(_home(home))
    if json_:
        _print({"schema": 1, "stopped": stopped})
    else:
        typer.echo("down" if stopped else "nothing was running")


@app.command()
@_named
def status(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Say what runs here, whether the link is up, and how far the run is."""
    from fedtui import operations

    document = operations.status(_home(home))
    if json_:
        _print(document)
        return
    alive = ", ".join(f"{name} {pid}" for name, pid in document["processes"].items()) or "none"
    typer.echo(f"site       {document['site']} ({', '.join(document['roles'])})")
    typer.echo(f"home       {document['home']}")
    typer.echo(f"processes  {alive}")
    typer.echo(f"link       {document['link']}")
    run_ = document["run"]
    if run_ is None:
        typer.echo("run        none yet")
        return
    typer.echo(
        f"run        {run_['run']}: {run_['state']}, round {run_['round']} of {run_['rounds']}"
    )
    if run_["metrics"]:
        typer.echo("metrics    " + ", ".join(f"{k} {v:.4f}" for k, v in run_["metrics"].items()))
    if run_["awaited"]:
        typer.echo(f"awaited    {', '.join(run_['awaited'])}")
    if run_["cause"]:
        typer.echo(f"cause      {run_['cause']}")


@app.command()
@_named
def run(
    study: Annotated[Path, typer.Argument(help="The study.toml that the sites agreed on.")],
    alone: Annotated[
        str, typer.Option(help="Only this site trains, all evaluate: what it could do by itself.")
    ] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Submit a study to the coordinator; the run goes on by itself."""
    from fedtui import operations
    from fedtui import study as studies

    agreed = studies.load(study)
    submitted = operations.run(_home(home), agreed, alone=alone)
    if json_:
        _print({"schema": 1, "run": submitted, "fingerprint": studies.fingerprint(agreed)})
    else:
        typer.echo(submitted)
        _say("Follow it with 'fedtui watch'; closing the terminal changes nothing.")


RunArgument = Annotated[str, typer.Argument(help="The run's id; default the one under way.")]


@app.command()
@_named
def stop(run_id: RunArgument = "", home: HomeOption = None, json_: JsonOption = False) -> None:
    """End the run under way before its time."""
    from fedtui import operations

    _done(operations.stop(_home(home), run_id), "stopped", json_=json_)


@app.command()
@_named
def pause(run_id: RunArgument = "", home: HomeOption = None, json_: JsonOption = False) -> None:
    """Hold the run under way between two exchanges."""
    from fedtui import operations

    _done(operations.pause(_home(home), run_id, paused=True), "paused", json_=json_)


@app.command()
@_named
def resume(run_id: RunArgument = "", home: HomeOption = None, json_: JsonOption = False) -> None:
    """Let a paused run go on."""
    from fedtui import operations

    _done(operations.pause(_home(home), run_id, paused=False), "resumed", json_=json_)


def _done(run_id: str, what: str, *, json_: bool) -> None:
    if json_:
        _print({"schema": 1, "run": run_id, "ordered": what})
    else:
        typer.echo(f"{run_id}: {what}")


@app.command()
@_named
def watch(
    run_id: Annotated[str, typer.Argument(help="The run's id; default the last one.")] = "",
    plain: Annotated[bool, typer.Option("--plain", help="One sentence an event.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Follow a run from its beginning to its end, however late this is opened."""
    from fedtui import watching

    code = watching.watch(_home(home), run_id, json_=json_)
    raise typer.Exit(code)


@app.command()
@_named
def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="A line a round, no screen.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="Rounds of joint training.")] = 15,
    sites_: Annotated[int, typer.Option("--sites", min=2, max=5, help="Hospitals.")] = 2,
    data: Annotated[str, typer.Option(help="digits, breast_cancer or heart_disease.")] = "digits",
    path: Annotated[
        Path | None, typer.Option(help="Folder with the data; heart_disease needs it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same numbers.")] = 0,
    home: Annotated[
        Path | None, typer.Option("--home", metavar="DIR", help="Where; default temporary.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary homes.")] = False,
    json_: JsonOption = False,
) -> None:
    """Run a whole federation on this machine: real processes, keys, TLS and training."""
    from fedtui import demo as demonstration

    code = demonstration.show(
        demonstration.Plan(
            rounds=rounds, sites=sites_, data=data, path=path, seed=seed, home=home, keep=keep
        ),
        json_=json_,
    )
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
