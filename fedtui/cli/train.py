"""This site alone: what it could do without a federation."""

from typing import Annotated, Any

import typer

from fedtui.cli._shared import HomeOption, JsonOption, app, home_of, named, print_json, say


@app.command()
@named
def train(
    study: Annotated[str, typer.Argument(help="A study's file, or its id.")],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Train a study's model here alone, with the same budget; nothing is sent.

    So nothing is noised either, whatever the study's privacy says. Patients' data are read once
    this site's approver signed the study, which 'audit access' then lists.
    """
    from fedtui import events, operations

    shown = (operations.study_named(home_of(home), study).metric, "loss")

    def tell(news: dict[str, Any]) -> None:
        if "round" in news:
            told = news["round"]
            say(f"round {told['round']} of {told['rounds']}: {_words(told['metrics'], shown)}")
        if "split" in news:
            say(events.BatchSplit(run="", **news["split"]).sentence)

    done = operations.train_alone(home_of(home), study, on_news=tell)
    if json_:
        print_json({"schema": 1, **done})
        return
    if done["resumed"] == done["rounds"]:
        say("It was trained before; these are its numbers.")
    typer.echo(f"on this site's own test split: {_words(done['metrics'], shown)}")
    typer.echo(f"model: {done['file']}")


def _words(metrics: dict[str, float | None], shown: tuple[str, ...]) -> str:
    """Of all that is measured, which ``--json`` has, what the study is about."""
    told = ((name, metrics.get(name)) for name in dict.fromkeys(shown))
    return ", ".join(f"{name} {'--' if v is None else f'{v:.4f}'}" for name, v in told)
