"""Where a backup's passphrase comes from: a file, or the terminal, never a flag or a variable."""

import sys
from pathlib import Path
from typing import Annotated

import typer

PassphraseOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Whose first line is the passphrase; default asked for."),
]


def passphrase(file: Path | None, *, twice: bool = False) -> str:
    """The passphrase; ``twice`` asks again, so that a slip does not lock a backup for good.

    Raises:
        UsageError: others can read the file, or there is none and nobody to ask.
    """
    from fedtui.errors import UsageError

    if file is not None:
        try:
            if file.stat().st_mode & 0o077:
                raise UsageError(
                    f"{file} can be read by others.", remedy=f"chmod 600 {file}, then again."
                )
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{file} cannot be read.", remedy="Check the path and its permissions."
            ) from error
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        raise UsageError(
            "The passphrase cannot be asked for here.",
            remedy="Give --passphrase-file FILE, mode 0600.",
        )
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))
