"""Whether the processor has what compiled packages need; asked before one of them is imported."""

import platform
from collections.abc import Iterator
from pathlib import Path

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_JAX = ("avx",)  # jaxlib's x86-64 wheels end at once without it
_POLARS = ("avx2", "fma", "bmi1", "bmi2", "movbe", "abm")  # polars' default wheel
_LIMIT = "avx (jaxlib), avx2 fma bmi1 bmi2 movbe lzcnt (polars' default wheel)"


def check(_: Inquiry) -> Iterator[Finding]:
    """Read what the kernel says of the processor, as a virtual machine shows it."""
    yield judge(_cpuinfo(), machine=platform.machine())


def judge(cpuinfo: str, *, machine: str) -> Finding:
    """The finding for the text of /proc/cpuinfo."""
    if machine not in ("x86_64", "AMD64"):
        return Finding(
            state=State.OK,
            code="cpu-ok",
            measured=machine,
            threshold=_LIMIT,
            meaning="The flags matter on x86-64 only.",
        )
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    lines = {name.strip(): value.strip() for name, _, value in pairs}
    flags, model = set(lines.get("flags", "").split()), lines.get("model name", "unknown")
    if not flags:
        return Finding(
            state=State.UNKNOWN,
            code="cpu-unknown",
            measured=model,
            threshold=_LIMIT,
            meaning="The kernel does not say what the processor can do.",
            remedy="Run 'lscpu' and look for avx2.",
        )
    missing = [flag for flag in (*_JAX, *_POLARS) if flag not in flags]
    if not missing:
        return Finding(
            state=State.OK,
            code="cpu-ok",
            measured=model,
            threshold=_LIMIT,
            meaning="The processor has what JAX and polars need.",
        )
    victim = "JAX and polars end" if "avx" in missing else "polars ends"
    virtual = " This is a virtual machine: its CPU type hides them." * ("hypervisor" in flags)
    return Finding(
        state=State.FAIL,
        code="cpu-no-avx" if "avx" in missing else "cpu-no-avx2",
        measured=f"{model}: no {' '.join(missing)}",
        threshold=_LIMIT,
        exit_code=8,
        meaning=f"{victim} with 'Illegal instruction' on this processor.{virtual}",
        remedy="Ask for the VM's CPU type 'host' (or x86-64-v3), or use another machine."
        if virtual
        else "Use a machine made after 2015, or polars' 'rtcompat' build.",
    )


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
