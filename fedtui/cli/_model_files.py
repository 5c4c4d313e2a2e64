"""Models as files: handed out, taken in."""

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, RunArgument, home_of, named, print_json, say


@named
def export(
    run_id: RunArgument = "",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="A new file; required.")
    ] = None,
    object_: Annotated[
        str,
        typer.Option(
            "--object", metavar="joint|local", help="The joint model, or this site's own alone."
        ),
    ] = "joint",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a run's model as a file signed by this site, if study and leakage audit allow it."""
    from fedtui import operations
    from fedtui.errors import UsageError

    if to is None:
        raise UsageError("models export needs --to FILE.", remedy="Give a new file.")
    told = operations.export_model(home_of(home), run_id, kind=object_, to=to)
    if json_:
        print_json({"schema": 1, **told})
    else:
        typer.echo(f"{told['file']}: {told['object']} model of {told['run']}, signed")
        typer.echo(f"sha256 {told['sha256']}")


@named
def import_(
    file: Annotated[Path, typer.Argument(help="A file of 'fedtui models export'.")],
    study: Annotated[
        str,
        typer.Option("--study", metavar="FILE|ID", help="The study that it must be of; required."),
    ] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Judge another site's model on this site's own test patients; nothing is trained."""
    from fedtui import events, operations
    from fedtui.errors import UsageError

    if not study:
        raise UsageError(
            "models import needs --study FILE.", remedy="Give the study that the model is of."
        )
    where = home_of(home)
    agreed = operations.study_named(where, study)
    say(f"{file.name}: checking its signature, study and network, then judging it here.")
    found = operations.import_model(where, file, agreed)
    if json_:
        print_json({"schema": 1, **events.to_fields(found)})
        return
    from fedtui.report import text

    typer.echo("\n".join(text.imported(found)))
