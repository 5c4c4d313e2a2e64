"""What operators order of a run in progress, and how it obeys."""

import time
from dataclasses import dataclass

_LOOK_SECONDS = 0.1  # between looks while a run is paused


class StoppedError(Exception):
    """An operator stopped the run."""


@dataclass(kw_only=True)
class Control:
    """What operators ordered of the run in progress; read between and during exchanges.

    Attributes:
        storage: What the disk says while the run waits for it, else empty.
    """

    stopped: bool = False
    paused: bool = False
    storage: str = ""

    def obey(self) -> None:
        """Return at once, or when a pause ends.

        Raises:
            StoppedError: an operator stopped the run.
        """
        while self.paused and not self.stopped:
            time.sleep(_LOOK_SECONDS)
        if self.stopped:
            raise StoppedError
