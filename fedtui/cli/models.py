"""What the models cost on this machine."""

import json
import os
import subprocess
import sys
from typing import Annotated, Any

import typer

from fedtui import processes
from fedtui.cli._model_files import export, import_
from fedtui.cli._shared import JsonOption, app, named, print_json, say

models = typer.Typer(
    help="What each model costs on this machine.",
    rich_markup_mode=None,
    invoke_without_command=True,
)
app.add_typer(models, name="models")
models.command("export")(export)
models.command("import")(import_)

_SECONDS = 600.0  # EfficientNet-B2 compiles in one or two minutes on two slow cores


@models.callback()
@named
def probe(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="MODEL", help="This one; repeatable.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Training examples of the site.")] = 10_000,
    side: Annotated[int, typer.Option(min=32, help="Pixels a side of images.")] = 128,
    hours: Annotated[int, typer.Option(min=1, help="Hours of a series.")] = 48,
    features: Annotated[int, typer.Option(min=1, help="Columns of a table or series.")] = 40,
    batch: Annotated[int, typer.Option(min=0, help="Examples a step; 0 as usual.")] = 0,
    minutes: Annotated[float, typer.Option(min=0.01, help="What a round may take.")] = 10.0,
    json_: JsonOption = False,
) -> None:
    """Compile each model, take some steps on made-up data, and say what a round would take."""
    if context.invoked_subcommand is not None:
        return
    kinds: list[list[str]] = _asked("--names")
    if unknown := set(only or ()) - {model for model, _ in kinds}:
        from fedtui.errors import UsageError

        known = ", ".join(dict.fromkeys(model for model, _ in kinds))
        raise UsageError(f"There is no model '{min(unknown)}'.", remedy=f"Choose among {known}.")
    sizes = {"examples": examples, "side": side, "hours": hours, "features": features}
    words = [f"--{name}={value}" for name, value in (sizes | {"batch": batch}).items()]
    found: list[dict[str, Any]] = []
    for model, gives in kinds:
        if only and model not in only:
            continue
        say(f"{model}, {gives} ...")
        found.append(_asked(model, gives, *words))
    advice = {gives: _recommended(found, gives, 60 * minutes) for gives in _unique(found)}
    if json_:
        print_json({"schema": 1, "models": found, "recommended": advice})
    else:
        _print(found, advice, minutes)


def _asked(*words: str) -> Any:
    """What the probe answers, from a process with JAX.

    Raises:
        ResourceError: it ended without an answer: this machine cannot carry that model.
        RunError: the probe refused.
    """
    from fedtui.errors import ResourceError, RunError

    what = "the probe" if words[0].startswith("-") else words[0]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "models._probe", *words],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=processes.for_training(os.environ),
            check=False,
        )
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        how = f"gave no answer in {_SECONDS:.0f} s" if late else "ended without an answer"
        raise ResourceError(
            f"{what} {how} on this machine.",
            remedy="Free memory or processors, or choose other models with --only.",
        ) from error
    if "error" in answer:
        raise RunError(answer["error"], remedy=answer["remedy"])
    return answer


def _unique(found: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(cost["gives"] for cost in found))


def _recommended(found: list[dict[str, Any]], gives: str, seconds: float) -> str | None:
    """The model with most work an example among those whose round stays below ``seconds``."""
    fitting = [c for c in found if c["gives"] == gives and c["round_seconds"] <= seconds]
    if not fitting:
        return None
    chosen: str = max(fitting, key=lambda cost: cost["round_seconds"])["model"]
    return chosen


def _print(found: list[dict[str, Any]], advice: dict[str, str | None], minutes: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    table.add_column("eats")
    for name in ("parameters", "batch", "compile", "step", "memory", "a round"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in found:
        table.add_row(
            cost["model"],
            cost["gives"],
            f"{cost['parameters']:,}",
            str(cost["batch"]),
            _time(cost["compile_seconds"]),
            _time(cost["step_seconds"]),
            f"{cost['memory_bytes'] / 1e9:.1f} GB",
            _time(cost["round_seconds"]),
        )
    Console().print(table)
    if found:
        typer.echo(f"On {found[0]['device']}; a round is one pass over {found[0]['examples']:,}.")
    for gives, model in advice.items():
        if model is None:
            typer.echo(f"{gives}: none finishes a round within {minutes:g} min here")
        else:
            typer.echo(f"{gives}: {model}, the largest whose round stays within {minutes:g} min")


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
