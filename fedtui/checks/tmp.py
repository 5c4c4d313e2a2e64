"""Whether the folder for temporary files can be written, and holds programs that may run."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.mounts import Mount, mount_of

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False


def check(_: Inquiry) -> Iterator[Finding]:
    """Look at the temporary folder's rights and mount."""
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        yield Finding(
            state=State.FAIL,
            code="tmp-none",
            measured="none",
            exit_code=8,
            threshold="writable",
            meaning="No temporary folder can be written.",
            remedy="Set TMPDIR to a folder of your own.",
        )
        return
    yield judge(folder, os.access(folder, os.W_OK | os.X_OK), mount_of(folder))


def judge(folder: Path, writable: bool, mount: Mount | None) -> Finding:
    """The finding for a temporary ``folder`` on ``mount``."""
    if not writable:
        return Finding(
            state=State.FAIL,
            code="tmp-none",
            measured=str(folder),
            exit_code=8,
            threshold="writable",
            meaning=f"{folder} cannot be written.",
            remedy="Set TMPDIR to a folder of your own.",
        )
    if mount is not None and "noexec" in mount.options:
        return Finding(
            state=State.WARN,
            code="tmp-noexec",
            measured=f"{folder}: noexec",
            threshold="exec (GPU compilers write programs there)",
            meaning=f"{mount.point} is mounted noexec: fedtui itself works, but CUDA's compiler "
            "and package installers start programs there.",
            remedy="If one fails, set TMPDIR to a folder of your own before 'fedtui up'.",
        )
    return Finding(
        state=State.OK,
        code="tmp-ok",
        measured=str(folder),
        threshold="writable, exec",
        meaning="Temporary files and programs are allowed.",
    )
