"""What every command shares: its flags, how it names errors, how it prints."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="fedtui",
    help="The operator's console for a federation of hospitals.",
    rich_markup_mode=None,  # Rich help costs three times typer's own import
    pretty_exceptions_enable=False,
    add_completion=False,
    invoke_without_command=True,
)

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="DIR", help="The site's home; default FEDTUI_HOME.", show_default=False
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


def say(text: str) -> None:
    """Narration, on stderr."""
    typer.echo(text, err=True)


def print_json(document: Any) -> None:
    """One JSON document, on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
