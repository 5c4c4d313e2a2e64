"""Where a round stands, in a file of the site's own: a killed process goes on from there.

What it holds is no more than a repeated round would give again, bit for bit: it saves the time.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_EVERY = 30.0  # seconds of work that a kill may cost
_SHARE = 50  # times as long as it takes to write: 2 % of a round at most


class Place(NamedTuple):
    """Where a round stands.

    Attributes:
        arrays: Parameters and the optimiser's memory, by name.
        facts: What else it takes to go on, as JSON holds it.
    """

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class Bookmark:
    """A round's file, written about twice a minute and readable by this account only.

    Args:
        question: Hex digest of all that the round's result depends on; a file of another round, or
            of other data, is not read.
    """

    def __init__(self, path: Path, question: str) -> None:
        self._path, self._question = path, question
        self._due = time.monotonic() + _EVERY

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() >= self._due

    def write(self, place: Place) -> None:
        """The whole file or the one before; where it cannot be written the round goes on."""
        from safetensors.numpy import save

        began = time.monotonic()
        said = {"question": self._question, "facts": json.dumps(place.facts)}
        # OSError: the round does not need it, and the answer will have to find room as well.
        with contextlib.suppress(OSError):
            replace(self._path, save(place.arrays, said))
        now = time.monotonic()
        self._due = now + max(_EVERY, _SHARE * (now - began))

    def read(self) -> Place | None:
        """Where this very round stood when it was last written; None if it never was."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, framework="numpy") as file:
                said = file.metadata() or {}
                if said.get("question") != self._question:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Place(arrays, json.loads(said["facts"]))
        except (OSError, SafetensorError, ValueError, KeyError):
            return None  # the round begins at its beginning

    def remove(self) -> None:
        """The round is over."""
        self._path.unlink(missing_ok=True)


def question(*parts: Any) -> str:
    """Hex sha256 of arrays, by their bytes, and of whatever else has a fixed ``repr``."""
    digest = hashlib.sha256()
    for part in parts:
        array = isinstance(part, np.ndarray)
        digest.update(repr((part.dtype, part.shape) if array else part).encode())
        if array:
            digest.update(np.ascontiguousarray(part).data)
        digest.update(b"\0")  # which no ``repr`` holds: (1, 11) is not (11, 1)
    return digest.hexdigest()


def replace(path: Path, content: bytes) -> None:
    """The whole file, readable by this account only, or the one before.

    Raises:
        OSError: it cannot be written.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # 0600
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
