"""What both people-facing doors do: commands and dashboard call these, and nothing else."""

from fedtui.operations._homes import create, invite, join, join_flower, sites
from fedtui.operations._orders import down, pause, run, stop, up
from fedtui.operations._records import (
    export_run,
    health,
    known,
    openmetrics,
    runs,
    status,
    verify_export,
)

__all__ = [
    "create",
    "down",
    "export_run",
    "health",
    "invite",
    "join",
    "join_flower",
    "known",
    "openmetrics",
    "pause",
    "run",
    "runs",
    "sites",
    "status",
    "stop",
    "up",
    "verify_export",
]
