"""The journal: printed, exported, verified."""

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._shared import (
    HomeOption,
    JsonOption,
    RunArgument,
    app,
    home_of,
    named,
    print_json,
    say,
    there,
)


@app.command()
@named
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as news comes.")] = False,
    since: Annotated[str, typer.Option(help="From when: 2026-11-23T10:00, or 90m, 2h, 3d.")] = "",
    level: Annotated[str, typer.Option(help="INFO, WARN or ERROR, and above.")] = "INFO",
    to: Annotated[str, typer.Option(help="A file, or syslog; default stdout.")] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Print the journal: one sentence or one JSON object an event."""
    from fedtui.cli import _sinks as sinks
    from fedtui.cli import _watching as watching

    with sinks.open_sink(to) as sink:
        watching.logs(
            home_of(home),
            follow=follow,
            since=sinks.parse_since(since),
            level=sinks.parse_level(level),
            json_=json_,
            to=sink,
        )


@app.command()
@named
def export(
    run_id: RunArgument = "",
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="A new folder.")] = None,
    bundle: Annotated[
        bool,
        typer.Option("--bundle", help="Also matrix, report, model card and the like; signed."),
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a run's records, numbers and study into a folder that others can verify."""
    from fedtui import operations
    from fedtui.errors import UsageError

    if to is None:
        raise UsageError("export needs --to DIR.", remedy="Give a new folder for the files.")
    write = operations.export_bundle if bundle else operations.export_run
    files = write(home_of(home), run_id, to)
    if json_:
        print_json({"schema": 1, "files": [str(path) for path in files]})
    else:
        for path in files:
            typer.echo(path)


@app.command()
@named
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder of 'fedtui export'.")],
    signer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The signing site's keys/node.pub, if no home knows it."),
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Check an export: sums, chain, signatures, and the heads that this home keeps of that site."""
    from fedtui import operations

    verdict = operations.verify_export(there(folder), home_of(home), signer)
    if json_:
        from dataclasses import asdict

        print_json({"schema": 1, "holds": True, **asdict(verdict)})
        return
    typer.echo(f"holds: {verdict.records} records of run {verdict.run} at {verdict.site}")
    if verdict.bundle:
        typer.echo(f"every file is as {verdict.site} signed it")
    if verdict.witnessed:
        typer.echo(f"{verdict.witnessed} heads that this home keeps of {verdict.site} are in it")
    else:
        say("No head of that site is kept here: a wholly rewritten export would pass. Verify it")
        say("at a home that took part in the run.")
