"""What a run's models are worth, at every site."""

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


@app.command()
@named
def validate(
    run_id: RunArgument = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Stay until every site has answered.")
    ] = True,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Have every site judge the federated model, and its own, on its own test patients."""
    from fedtui import operations
    from fedtui.report import text

    where = home_of(home)
    ordered = operations.validate(where, run_id)
    if not wait:
        if json_:
            print_json({"schema": 1, **ordered})
        else:
            typer.echo(f"{ordered['run']}: validation {ordered['attempt']} ordered")
        return
    say(f"{ordered['run']}: asked every site. Closing this changes nothing.")
    found = operations.await_validation(where, ordered["run"], ordered["attempt"])
    if json_:
        print_json(operations.comparison_document(found))
    else:
        typer.echo("\n".join(text.comparison(found)))
