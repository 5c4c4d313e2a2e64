"""What left this site."""

import typer

from fedtui.cli._shared import HomeOption, JsonOption, RunArgument, home_of, named, print_json, say


@named
def released(run_id: RunArgument = "", home: HomeOption = None, json_: JsonOption = False) -> None:
    """Everything that left this site: what, to whom, under which study, how much, when."""
    from fedtui import operations

    found, spent = operations.released(home_of(home), run_id), operations.spent(home_of(home))
    if json_:
        privacy = [
            {"data": s.data, "epsilon": round(s.total, 4), "runs": dict(s.by_run), "limit": s.limit}
            for s in spent
        ]
        print_json({"schema": 1, "released": found, "privacy": privacy})
        return
    for one in found:
        size, study = f"{one['bytes']:,} bytes", one["fingerprint"][:12]
        typer.echo(
            f"{one['time'][:19]}  {one['what']:<18} {size:>18}  to {one['to']}, study {study}"
        )
    for one_ in spent:
        typer.echo(f"privacy: {one_.words}")
    if not found:
        say("Nothing left this site, by its journal.")
