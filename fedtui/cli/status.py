"""What runs here, whether the link is up, how far the run is: for people, scripts and cron."""

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, home_of, named, print_json


@app.command()
@named
def status(
    openmetrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it for a monitoring system.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only say what is wrong: exit 4 not running, 5 not let in, 3 link, 1 run.",
        ),
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Say what runs here, whether the link is up, and how far the run is."""
    from fedtui import operations

    if check:
        if trouble := operations.health(home_of(home)):
            raise trouble
        return
    document = operations.status(home_of(home))
    if openmetrics is not None:
        scratch = openmetrics.with_suffix(".tmp")  # a collector must never read half a file
        scratch.write_text(operations.openmetrics(home_of(home)), encoding="utf-8")
        scratch.replace(openmetrics)
        return
    if json_:
        print_json(document)
        return
    alive = ", ".join(f"{name} {pid}" for name, pid in document["processes"].items()) or "none"
    typer.echo(f"site       {document['site']} ({', '.join(document['roles'])})")
    typer.echo(f"home       {document['home']}")
    typer.echo(f"processes  {alive}")
    why = f": {document['link_cause']}" if document["link_cause"] else ""
    typer.echo(f"link       {document['link']}{why}")
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
