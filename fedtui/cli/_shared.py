"""What every command shares: its flags, how it names errors, how it prints."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import click
import typer
import typer.core

P = ParamSpec("P")
R = TypeVar("R")

# Typer escapes '[' for Rich wherever Rich is installed, and without Rich's markup the backslashes
# stay in the help.
typer.core.HAS_RICH = False

_made = typer.core.TyperArgument.__init__


def _make(argument: typer.core.TyperArgument, *, help: str | None = None, **others: Any) -> None:
    """Make an argument that keeps its help: since 8.5 click has one of its own, and empties it."""
    _made(argument, help=help, **others)
    argument.help = help


def _write_no_arguments(*_: Any) -> None:
    """Instead of click's own section of them, new in 8.5 too: typer writes one."""


typer.core.TyperArgument.__init__ = _make  # type: ignore[assignment, method-assign]
typer.core.TyperCommand.format_arguments = _write_no_arguments  # type: ignore[assignment, method-assign]

# The commands by what an operator is about to do, in the order in which it is met.
_TASKS = {
    "First steps": (
        "guide", "demo", "init", "invite", "join", "sites", "up", "down", "status", "check",
    ),
    "Data and models": ("data", "models", "train", "audit"),
    "Studies": ("study",),
    "Runs": (
        "run", "watch", "runs", "pause", "resume", "stop", "validate", "compare", "report",
    ),
    "Records": ("logs", "export", "verify", "replay"),
    "Upkeep": ("service", "keys", "backup", "restore", "bundle", "leave"),
}  # fmt: skip
_LONGEST = 400  # characters of a summary, which may go over several lines


class Group(typer.core.TyperGroup):
    """Commands under one name, each with its whole first sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One list; click would cut what does not fit a line."""
        self._write("Commands", self.list_commands(ctx), formatter)

    def _write(self, title: str, names: Any, formatter: click.HelpFormatter) -> None:
        found = [(name, self.commands[name]) for name in names if name in self.commands]
        rows = [(name, c.get_short_help_str(_LONGEST)) for name, c in found if not c.hidden]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


class Tasks(Group):
    """The command itself, whose help is sorted by task."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list a task."""
        del ctx
        for title, names in _TASKS.items():
            self._write(title, names, formatter)
        sorted_in = {name for names in _TASKS.values() for name in names}
        self._write("Others", [n for n in self.commands if n not in sorted_in], formatter)


def group(help: str, *, cls: type[Group] = Group, **options: Any) -> typer.Typer:
    """A name with commands under it."""
    return typer.Typer(
        help=help,
        cls=cls,
        rich_markup_mode=None,  # Rich help costs three times typer's own import
        suggest_commands=False,  # click does, and once is enough
        **options,
    )


app = group(
    "The operator's console for a federation of hospitals.",
    cls=Tasks,
    name="fedtui",
    pretty_exceptions_enable=False,
    add_completion=False,
    invoke_without_command=True,
)

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="The site's home; default FEDTUI_HOME, else ~/.local/state/fedtui.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
RunArgument = Annotated[str, typer.Argument(help="The run's id; default the last one.")]


def named(command: Callable[P, R]) -> Callable[P, R]:
    """Print an operator's error as words (or JSON with ``--json``) and exit with its code."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        from fedtui.errors import OperatorError, ResourceError

        try:
            try:
                return command(*args, **kwargs)
            except (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError) as e:
                raise ResourceError(
                    f"{e.filename}: {e.strerror}.", remedy="Check the path and who may write there."
                ) from e
        except OperatorError as error:
            if kwargs.get("json_", False):
                typer.echo(json.dumps(error.to_json()))
            else:
                typer.echo(f"fedtui: {error}\n  {error.remedy}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapper


def home_of(home: Path | None) -> Any:
    """The home that the flag or the environment names."""
    from fedtui import site

    return site.Home((home or site.default_home()).expanduser().absolute())


def at(home: Path | None) -> str:
    """What a next command needs to mean the same home: the flag, if it was given here."""
    import shlex

    return f" --home {shlex.quote(str(home))}" if home is not None else ""


def there(path: Path) -> Path:
    """``path``, if there is anything at it: a slip of the finger is named as one.

    Raises:
        UsageError: there is nothing.
    """
    from fedtui.errors import UsageError

    if not path.exists():
        raise UsageError(f"There is no {path}.", remedy="Check the path.")
    return path


def say(text: str) -> None:
    """Narration, on stderr."""
    typer.echo(text, err=True)


def print_json(document: Any) -> None:
    """One JSON document, on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
