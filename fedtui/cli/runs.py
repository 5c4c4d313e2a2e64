"""Runs: submitted, steered, followed, and the demo."""

import sys
from functools import partial
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
)
from fedtui.cli.dashboard import open_on


@app.command()
@named
def run(
    study: Annotated[
        str, typer.Argument(help="The study that the sites agreed on: its id, or a study.toml.")
    ],
    alone: Annotated[
        str,
        typer.Option(
            metavar="SITE",
            help="One of the study's sites, which alone trains while all of them evaluate: what "
            "it could do without the others.",
        ),
    ] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Submit a study to the coordinator; the run goes on by itself."""
    from fedtui import operations
    from fedtui import study as studies

    agreed = operations.study_named(home_of(home), study)
    submitted = operations.run(home_of(home), agreed, alone=alone)
    if json_:
        print_json({"schema": 1, "run": submitted, "fingerprint": studies.fingerprint(agreed)})
    else:
        typer.echo(submitted)
        say("Follow it with 'fedtui watch'; closing the terminal changes nothing.")


@app.command()
@named
def stop(run_id: RunArgument = "", home: HomeOption = None, json_: JsonOption = False) -> None:
    """End the run under way before its time."""
    from fedtui import operations

    done(operations.stop(home_of(home), run_id), "stopped", json_=json_)


@app.command()
@named
def pause(run_id: RunArgument = "", home: HomeOption = None, json_: JsonOption = False) -> None:
    """Hold the run under way between two exchanges."""
    from fedtui import operations

    done(operations.pause(home_of(home), run_id, paused=True), "paused", json_=json_)


@app.command()
@named
def resume(run_id: RunArgument = "", home: HomeOption = None, json_: JsonOption = False) -> None:
    """Let a paused run go on."""
    from fedtui import operations

    done(operations.pause(home_of(home), run_id, paused=False), "resumed", json_=json_)


def done(run_id: str, what: str, *, json_: bool) -> None:
    if json_:
        print_json({"schema": 1, "run": run_id, "ordered": what})
    else:
        typer.echo(f"{run_id}: {what}")


@app.command()
@named
def watch(
    run_id: Annotated[str, typer.Argument(help="The run's id; default the last one.")] = "",
    plain: Annotated[bool, typer.Option("--plain", help="One sentence an event.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Follow a run from its beginning to its end, however late this is opened."""
    from fedtui.cli import _watching as watching

    code = watching.watch(home_of(home), run_id, json_=json_)
    raise typer.Exit(code)


@app.command()
@named
def runs(home: HomeOption = None, json_: JsonOption = False) -> None:
    """List every run of this home, oldest first."""
    from fedtui import operations

    found = operations.runs(home_of(home))
    if json_:
        print_json({"schema": 1, "runs": found})
        return
    for entry in found:
        value = "--" if entry["value"] is None else f"{entry['value']:.4f}"
        done = f"{entry['rounds_done']}/{entry['rounds']}"
        typer.echo(f"{entry['run']:<40} {entry['state']:<10} {done:>9} {entry['metric']} {value}")


@app.command()
@named
def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="A line a round, no screen.")
    ] = False,
    rounds: Annotated[
        int, typer.Option(min=0, max=10_000, help="Rounds a run; 0 for what suits the data.")
    ] = 0,
    sites_: Annotated[
        int, typer.Option("--sites", min=0, max=5, help="Hospitals, 2 to 5; 0 likewise.")
    ] = 0,
    data: Annotated[
        str, typer.Option(help="digits, breast_cancer, heart_disease, mimic_iv or siim_isic.")
    ] = "digits",
    path: Annotated[
        Path | None,
        typer.Option(help="Folder with the data; without it the last two are made up."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same numbers.")] = 0,
    home: Annotated[
        Path | None, typer.Option("--home", metavar="DIR", help="Where; default temporary.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary homes.")] = False,
    study: Annotated[
        str,
        typer.Option(help="Of these data a whole study: agreed on, run, validated, audited."),
    ] = "",
    json_: JsonOption = False,
) -> None:
    """Run a whole federation on this machine: real processes, keys, TLS and training."""
    from fedtui import demo as demonstration

    plan = demonstration.Plan(
        rounds=rounds,
        sites=sites_,
        data=study or data,
        path=path,
        seed=seed,
        home=home,
        keep=keep,
        agreed=bool(study),
    )
    screen = None
    if not (headless or json_) and sys.stdin.isatty() and sys.stdout.isatty():
        screen = partial(open_on, mouse=False, ascii_=False, readonly=False, no_diff=False)
    raise typer.Exit(demonstration.show(plan, json_=json_, screen=screen))
