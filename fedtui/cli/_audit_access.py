"""Who used which patients' data here, by this site's own journal; the lists, kept or removed."""

from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, home_of, named, print_json, say


@named
def access(
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="Of one run only.")] = "",
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove lists older than [audit] retention_years.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Every access to patients' data here: when, who approved, why, which cohort."""
    from fedtui import operations

    place = home_of(home)
    removed = operations.prune_accesses(place) if prune else []
    found = operations.accesses(place, run_id)
    if json_:
        print_json({"schema": 1, "accesses": found, "removed": removed})
        return
    for entry in found:
        patients = "--" if entry["patients"] is None else str(entry["patients"])
        who = entry["person"] or "public data"
        typer.echo(
            f"{entry['time'][:19]}  {entry['run'] or entry['study']}, {entry['action']}: "
            f"{patients} patients, {who}"
            f", {entry['legal_basis'] or 'no legal basis given'}"
        )
        typer.echo(f"  {entry['data']}, cohort {entry['cohort'][:16]}, list {entry['list']}")
    if prune:
        say(f"{len(removed)} lists removed.")
