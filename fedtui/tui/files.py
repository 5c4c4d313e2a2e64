"""Files that an operator asks for from the screen."""

import os
import re
from collections.abc import Iterable
from pathlib import Path


def offline(picture: str) -> str:
    """Textual's SVG without the fonts that it would fetch from a server."""
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


def write(name: str, content: str, folders: Iterable[Path]) -> Path | None:
    """Write to the first folder that takes it, mode 0600; None when none does."""
    for folder in folders:
        path = folder / name
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
        except OSError:  # not writable, or full
            continue
        return path
    return None
