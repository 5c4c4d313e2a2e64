"""Whether JAX computes on the accelerator that this host has; the agent's trainer says so."""

from collections.abc import Iterator
from pathlib import Path

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._told import last
from fedtui.events import DeviceReported

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_DRIVERS = {
    "NVIDIA": ("/proc/driver/nvidia/version", "/dev/nvidiactl"),
    "AMD": ("/dev/kfd",),
    "TPU": ("/dev/accel0",),
}
_LIMIT = "JAX uses the accelerator whose driver is here"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Compare the drivers of this host with what the trainer reported last."""
    drivers = [n for n, paths in _DRIVERS.items() if any(Path(p).exists() for p in paths)]
    yield judge(drivers, _reported(inquiry))


def judge(drivers: list[str], reported: DeviceReported | None) -> Finding:
    """The finding for the ``drivers`` seen and the device that was ``reported``."""
    seen = f"{' and '.join(drivers)} driver" if drivers else "no accelerator driver"
    if reported is None:
        return Finding(
            state=State.SKIP,
            code="device-unasked",
            measured=seen,
            meaning=f"Not measured: no trainer has reported its device yet; {seen} is here.",
            remedy="'fedtui up' starts one; then check again.",
        )
    measured = f"{reported.count} x {reported.device}, {seen}"
    if drivers and reported.device.startswith("cpu"):
        return Finding(
            state=State.WARN,
            code="device-cpu",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"This host has an {drivers[0]} driver, but JAX computes on the CPU: its "
            "plugin is missing or does not fit the driver.",
            remedy="Install the extra: pip install 'fedtui[gpu]', then 'fedtui down' and 'up'.",
            exit_code=8,
        )
    return Finding(
        state=State.OK,
        code="device-ok",
        measured=measured,
        threshold=_LIMIT,
        meaning="JAX uses what this host has.",
    )


def _reported(inquiry: Inquiry) -> DeviceReported | None:
    record = last(inquiry.home, DeviceReported)
    event = record.event if record else None
    return event if isinstance(event, DeviceReported) else None
