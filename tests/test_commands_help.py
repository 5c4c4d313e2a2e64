"""What ``--help`` says, and what is said of words that no command knows."""

import json
from collections.abc import Iterator

import click
import pytest
import typer

from fedtui.cli import _register, _shared, app
from tests.test_commands import fedtui


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group, by what is typed."""
    _register([])
    waiting = [("fedtui", typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        yield path, command
        for name, below in getattr(command, "commands", {}).items():
            waiting.append((f"{path} {name}", below))


EVERY = dict(commands())


@pytest.mark.parametrize("path", sorted(EVERY))
def test_help_has_no_stray_backslash_and_no_summary_that_breaks_off(path: str) -> None:
    command = EVERY[path]

    told = command.get_help(click.Context(command, info_name=path))

    assert "\\[" not in told
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            help = getattr(parameter, "help", "")
            assert help
            assert " ".join(help.split()) in " ".join(told.split())
    assert sum("rguments:" in line for line in told.splitlines()) <= 1  # and not once more by click
    usage, *lines = told.splitlines()
    assert usage.startswith("Usage")
    assert not [line for line in lines if line.rstrip().endswith(("...", "…"))]
    assert max(map(len, lines)) <= 80


def test_required_and_default_are_still_told() -> None:
    told = fedtui("init", "--help").stdout

    assert "NAME  The site's name: a-z, 0-9 and -.  [required]" in told
    assert "[default: 8443]" in told
    assert "FEDTUI_HOME, else ~/.local/state/fedtui" in " ".join(told.split())


def test_every_command_stands_under_the_task_that_it_is_for() -> None:
    sorted_in = [name for names in _shared._TASKS.values() for name in names]

    told = fedtui("--help").stdout

    assert sorted(sorted_in) == sorted(EVERY["fedtui"].commands)  # type: ignore[attr-defined]
    places = [told.index(f"\n{title}:\n") for title in _shared._TASKS]
    assert places == sorted(places)
    assert "Others:" not in told


@pytest.mark.parametrize("words", [["stat"], ["study", "aprove"]])
def test_what_was_probably_meant_is_said_once(words: list[str]) -> None:
    done = fedtui(*words, check=2)

    assert done.stderr.count("Did you mean") == 1


@pytest.mark.parametrize(
    ("words", "said", "path"),
    [
        (["run", "--json"], "STUDY", "run"),
        (["stat", "--json"], "status", ""),
        (["data", "inspect", "x", "--nmae", "y", "--json"], "--nmae", "data inspect"),
        (["up", "--json", "--home"], "--home", ""),
    ],
)
def test_a_mistake_in_the_words_is_one_object_where_json_is_asked_for(
    words: list[str], said: str, path: str
) -> None:
    told = json.loads(fedtui(*words, check=2).stdout)

    assert (told["error"], told["exit_code"]) == ("UsageError", 2)
    assert said in told["message"]
    assert f"{path} --help" in told["remedy"]
