"""What the models cost on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui import processes
from fedtui.cli._model_files import export, import_
from fedtui.cli._shared import JsonOption, app, group, named, print_json, say

if TYPE_CHECKING:
    from fedtui.study import Study

_HELP = """What each model costs on this machine: measured here, on made-up data.

Each is compiled and takes some steps in a process of its own: seconds for a table, minutes for
large networks of images. A round is one pass over --examples, or what --study has for one, without
the noise of its privacy. Named at the end is, for each kind of data, the largest that fits: of the
models whose round stays within --minutes and whose memory the device has, the one with most
parameters. Whether the larger one is also the better one, only data can tell.
"""

models = group(_HELP, invoke_without_command=True)
app.add_typer(models, name="models")
models.command("export")(export)
models.command("import")(import_)

_SECONDS = 600.0  # EfficientNet-B2 compiles in one or two minutes on two slow cores
_RULE = "most parameters, of those whose round fits the time and whose memory the device has"
_LESS = "Free memory or processors, or choose other models with --only."
_COLUMNS = ("parameters", "batch", "compile", "step", "memory", "a round")
_WIDTHS = (11, 6, 8, 10, 8, 9)


@models.callback()
@named
def probe(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="MODEL", help="This one; repeatable.")
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="This study's model, with its parameters, optimizer and batch."
        ),
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Training examples of the site.")] = 10_000,
    side: Annotated[int, typer.Option(min=32, help="Pixels a side of images.")] = 128,
    hours: Annotated[int, typer.Option(min=1, help="Hours of a series.")] = 48,
    features: Annotated[int, typer.Option(min=1, help="Columns of a table or series.")] = 40,
    batch: Annotated[int, typer.Option(min=0, help="Examples a step; 0 as usual.")] = 0,
    minutes: Annotated[float, typer.Option(min=0.01, help="What a round may take.")] = 10.0,
    json_: JsonOption = False,
) -> None:
    """Measure what a round of each model would take here."""
    from fedtui.errors import UsageError

    if context.invoked_subcommand is not None:
        return
    if only and study is not None:
        raise UsageError("A study has one model.", remedy="Give --only or --study, not both.")
    kinds = _chosen(only, study)
    sizes = {"examples": examples, "side": side, "hours": hours, "features": features}
    words = [f"--{name}={value}" for name, value in (sizes | {"batch": batch}).items()]
    if study is not None:
        words += ["--study", json.dumps(_settings(study))]
    many = f"{len(kinds)} measurements, each" if len(kinds) > 1 else "One measurement,"
    say(f"{many} a few seconds to some minutes; Ctrl-C keeps what is known by then.")
    found: list[dict[str, Any]] = []
    interrupted = False
    try:
        for model, gives in kinds:
            say(f"{model}, {gives} ...")
            found.append(_measured(model, gives, words))
            if not json_:
                _print_row(found)
    except KeyboardInterrupt:
        interrupted = True
    answered = dict.fromkeys(cost["gives"] for cost in found if "failed" not in cost)
    advice = {gives: _largest(found, gives, 60 * minutes) for gives in answered}
    if json_:
        document = {"schema": 1, "models": found, "recommended": advice, "rule": _RULE}
        print_json(document | {"interrupted": interrupted})
    else:
        _print_advice(found, advice, minutes, study=study is not None)
    if interrupted:
        raise typer.Exit(130)
    if failed := [cost["failed"] for cost in found if "failed" in cost]:
        raise typer.Exit(int(failed[0]["exit_code"]))


def _chosen(only: Sequence[str] | None, study: Path | None) -> list[tuple[str, str]]:
    """The models to measure, each with what it is fed."""
    from fedtui.errors import UsageError

    kinds = [(str(model), str(gives)) for model, gives in _asked("--names")]
    known = dict.fromkeys(model for model, _ in kinds)
    if study is not None:
        import datasets

        agreed = _agreed(study)
        given = datasets.gives(agreed.data) if agreed.data in datasets.names() else ()
        if agreed.model not in known:
            raise UsageError(
                f"There is no model '{agreed.model}'.", remedy=f"Choose among {', '.join(known)}."
            )
        found = [(m, gives) for m, gives in kinds if m == agreed.model and gives in given]
        return found or [(m, gives) for m, gives in kinds if m == agreed.model]
    if unknown := set(only or ()) - set(known):
        raise UsageError(
            f"There is no model '{min(unknown)}'.", remedy=f"Choose among {', '.join(known)}."
        )
    return [(model, gives) for model, gives in kinds if not only or model in only]


def _agreed(study: Path) -> "Study":
    from fedtui import study as studies

    return studies.load(study)


def _settings(study: Path) -> dict[str, Any]:
    agreed = _agreed(study)
    return {"parameters": agreed.parameters, "training": agreed.training}


def _measured(model: str, gives: str, words: Sequence[str]) -> dict[str, Any]:
    """What the model costs, or why that is not known: one failure must not hide the others."""
    from fedtui.errors import ResourceError, RunError

    try:
        cost: dict[str, Any] = _asked(model, gives, *words)
    except (ResourceError, RunError) as error:
        return {"model": model, "gives": gives, "failed": error.to_json()}
    return cost


def _asked(*words: str) -> Any:
    """What the probe answers, from a process with JAX.

    Raises:
        ResourceError: it ended without an answer: this machine cannot carry that model.
        RunError: the probe refused.
    """
    from fedtui import errors
    from fedtui.errors import ResourceError

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
    except subprocess.TimeoutExpired as error:
        raise ResourceError(
            f"{what} gave no answer in {_SECONDS:.0f} s on this machine.", remedy=_LESS
        ) from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise ResourceError(
            f"{what} ended without an answer: {_last_words(done)}.", remedy=_LESS
        ) from None
    if "error" in answer:
        raise errors.from_json(answer)
    return answer


def _last_words(done: "subprocess.CompletedProcess[str]") -> str:
    """Why a probe ended, as far as that is known: of a model of one's own, its mistake."""
    if done.returncode < 0:
        return f"signal {-done.returncode} ended it"
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200].rstrip(".")


def _largest(found: list[dict[str, Any]], gives: str, seconds: float) -> str | None:
    """The model with most parameters whose round and memory fit; of two, the quicker one."""
    best: dict[str, Any] | None = None
    for cost in found:
        if "failed" in cost or cost["gives"] != gives or cost["round_seconds"] > seconds:
            continue
        if cost["memory_limit_bytes"] and cost["memory_bytes"] > cost["memory_limit_bytes"]:
            continue
        size = (cost["parameters"], -cost["round_seconds"])
        if best is None or size > (best["parameters"], -best["round_seconds"]):
            best = cost
    return None if best is None else str(best["model"])


def _print_row(found: list[dict[str, Any]]) -> None:
    """The last of ``found``, as soon as it is known; the first has the columns' names above it."""
    if len(found) == 1:
        named_ = zip(_COLUMNS, _WIDTHS, strict=True)
        typer.echo(f"{'model':<17}{'eats':<8}" + "".join(f"{n:>{w}}" for n, w in named_))
    cost = found[-1]
    begin = f"{cost['model']:<17}{cost['gives']:<8}"
    if "failed" in cost:
        typer.echo(f"{begin}  failed: {cost['failed']['message']}")
        say(f"  {cost['failed']['remedy']}")
        return
    cells = (
        f"{cost['parameters']:,}",
        str(cost["batch"]),
        _time(cost["compile_seconds"]),
        _time(cost["step_seconds"]),
        f"{cost['memory_bytes'] / 1e9:.1f} GB",
        _time(cost["round_seconds"]),
    )
    typer.echo(begin + "".join(f"{c:>{w}}" for c, w in zip(cells, _WIDTHS, strict=True)))


def _print_advice(
    found: list[dict[str, Any]], advice: dict[str, str | None], minutes: float, *, study: bool
) -> None:
    known = [cost for cost in found if "failed" not in cost]
    if known:
        round_ = "the study's, without its privacy," if study else "one pass"
        typer.echo(f"On {known[0]['device']}; a round is {round_} over {known[0]['examples']:,}.")
    for gives, model in advice.items():
        if model is None:
            typer.echo(f"{gives}: none finishes a round within {minutes:g} min in this memory")
        else:
            typer.echo(f"{gives}: {model} is the largest whose round stays within {minutes:g} min")


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
