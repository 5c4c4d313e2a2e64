"""The board's question: what is joining worth to each hospital?"""

from typing import Annotated

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, home_of, named, print_json


@app.command()
@named
def compare(
    target: Annotated[
        str, typer.Argument(metavar="STUDY|RUN", help="Default the run validated last.")
    ] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Each site's federated model against its own, on its own patients; then the others'."""
    from fedtui import operations
    from fedtui.report import text

    found = operations.compare(home_of(home), target)
    if json_:
        print_json(operations.comparison_document(found))
    else:
        typer.echo("\n".join(text.comparison(found)))
