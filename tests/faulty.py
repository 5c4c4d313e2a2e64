"""A host whose disk fails and whose clock jumps, for the processes of one home, without root.

``faulty.c`` is compiled once and preloaded into what a home starts; what is wrong at this moment
stands in a file that all of them have mapped.
"""

import contextlib
import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

MISSING = "" if shutil.which("cc") else "no C compiler here"
_CONTROL = struct.Struct("=3q")


def compiled(folder: Path) -> Path:
    """The library to preload."""
    library = folder / "faulty.so"
    source = Path(__file__).with_name("faulty.c")
    words = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    return library


class Host:
    """What goes wrong for the processes that one home starts ``within`` this."""

    def __init__(self, library: Path, control: Path, home: Path) -> None:
        self._control = control
        control.write_bytes(bytes(_CONTROL.size))
        self._environment = {
            "LD_PRELOAD": str(library),
            "FAULTY_CONTROL": str(control),
            "FAULTY_UNDER": str(home.resolve()) + "/",
        }

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """What is started inside has this host's disk and clock."""
        before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def mend(self) -> None:
        """The disk writes and the clock is right."""
        self._set()

    def fail(self, every: int, code: int = errno.EIO) -> None:
        """Each ``every``-th write to the home's files fails so."""
        self._set(every=every, code=code)

    def fill(self) -> None:
        """The disk is full: nothing can be written."""
        self._set(every=1, code=errno.ENOSPC)

    def jump(self, seconds: int) -> None:
        """The clock is off by so much."""
        self._set(clock=seconds)

    def _set(self, *, clock: int = 0, every: int = 0, code: int = 0) -> None:
        with self._control.open("r+b", buffering=0) as file:  # in place: it is mapped
            file.write(_CONTROL.pack(clock, every, code))
