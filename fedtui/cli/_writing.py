"""A study written from answers: asked for on a terminal, taken from flags elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from fedtui.errors import OperatorError, UsageError
from fedtui.site import Home
from fedtui.study import Study

_QUESTIONS = {
    "id": "A short name, letters, digits and -",
    "purpose": "What it is for",
    "legal_basis": "What allows it (ethics approval's number)",
    "sites": "Its sites, with commas",
    "approvers": "Who approves, as SITE=NAME with commas",
    "data": "The data set ('fedtui data list')",
    "cohort": "Who is in it, in words",
    "model": "The model, e.g. logistic, mlp, gru, resnet18",
    "rounds": "Rounds of joint training",
    "expires": "The last day, as 2027-06-30; empty for no end",
}
_OPTIONAL = ("legal_basis", "approvers", "cohort", "expires")
_TRAINING = {"optimizer": "sgd", "learning_rate": 0.1, "batch": 32, "epochs": 1}


def written(
    home: Home,
    given: dict[str, Any],
    more: dict[str, Any],
    *,
    file: Path,
    ask: bool,
    say: Callable[[str], None],
) -> Study:
    """Complete ``given``, fill in the schema from this site's data, and write ``file``.

    Args:
        given: Text by key of ``_QUESTIONS``; empty where it is to be asked.
        more: metric, epsilon, quorum, exchange.

    Raises:
        UsageError: the file exists, an answer is missing or does not fit.
    """
    from fedtui import agreement, operations, settings, site

    if file.exists():
        raise UsageError(f"{file} exists already.", remedy="Give another name, or remove it.")
    answers = {key: str(value) for key, value in given.items()}
    here = site.load(home) if home.settings.exists() else None
    for key, question in _QUESTIONS.items():
        if answers[key] or not ask:
            continue
        offered = next(iter(here.data), "") if here is not None and key == "data" else ""
        optional = key in _OPTIONAL
        default = offered or ("" if optional else None)
        answers[key] = str(typer.prompt(question, default=default, show_default=bool(default)))
    if missing := [key for key in _QUESTIONS if not answers[key] and key not in _OPTIONAL]:
        flags = ", ".join(f"--{key.replace('_', '-')}" for key in missing)
        raise UsageError(f"A study needs {flags}.", remedy="Give them, or run it on a terminal.")
    sites = _listed(answers["sites"])
    try:
        rounds = int(answers["rounds"])
        people = dict(_pair(text) for text in _listed(answers["approvers"]))
    except ValueError:
        raise UsageError(
            "Rounds are a number, and approvers are written as SITE=NAME.",
            remedy="For example --rounds 20 --approvers 'halland=Anna Ek,vgr=Bo Berg'.",
        ) from None
    document: dict[str, Any] = {
        **{key: answers[key] for key in ("id", "purpose", "legal_basis", "data", "cohort")},
        **{key: answers[key] for key in ("model", "expires")},
        "sites": sites,
        "approvers": people,
        "rounds": rounds,
        "metric": more["metric"],
        "quorum": {"minimum_sites": more["quorum"] or len(sites)},
        "exchange": _listed(more["exchange"]),
        "training": dict(_TRAINING),
        "privacy": {} if more["epsilon"] is None else {"epsilon": more["epsilon"], "clip": 1.0},
    }
    if here is not None and answers["data"] in here.data:
        say("Looking at this site's data…")
        try:
            document["schema"] = operations.examine_data(home, answers["data"])["schema"]
        except OperatorError as error:
            say(f"The schema stays open: {error}")
    try:
        made = settings.from_mapping(document, Study)
    except settings.Mistake as error:
        raise UsageError(
            f"This is no study: {'.'.join(error.keys)}: {error}.", remedy=error.remedy
        ) from error
    file.write_text(agreement.to_toml(made), encoding="utf-8")
    return made


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pair(text: str) -> tuple[str, str]:
    name, separator, person = text.partition("=")
    if not separator:
        raise ValueError(text)
    return name.strip(), person.strip()
