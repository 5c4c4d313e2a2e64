"""What a computer computes with: another one rounds otherwise."""

import hashlib
import os
import platform
from pathlib import Path

import jax

_CPUINFO = Path("/proc/cpuinfo")  # whose clock rates and places of cores tell nothing
_TELLING = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
)  # fmt: skip


_SETTINGS = ("NPROC", "PJRT_NPROC", "XLA_FLAGS")  # by which an operator sets threads and rounding


def identities() -> list[str]:
    """JAX's devices here, each with what tells it from others of its name, and XLA's settings."""
    return [
        *(
            f"{d} {processor() if d.platform == 'cpu' else d.device_kind}"
            for d in jax.local_devices()
        ),
        *(f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ),
    ]


def processor() -> str:
    """A short name for kind and number of the processors here, 'b3cfe07bd3b1 x 2'.

    The number decides too: where nothing else is set, XLA adds up in as many parts.
    """
    try:
        first = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        first = ""
    lines = [line for line in first.splitlines() if line.partition(":")[0].strip() in _TELLING]
    told = "\n".join(lines) or f"{platform.machine()} {platform.processor()}"
    return f"{hashlib.sha256(told.encode()).hexdigest()[:12]} x {len(os.sched_getaffinity(0))}"
