"""Crash points: where a rehearsal of failures may kill this process, and nothing otherwise.

``FEDTUI_CRASH=agent.pulled@2=MARKER`` kills the process with SIGKILL the first time it passes
that point in round 2; the file MARKER then keeps its successor alive (and disarms the point from
the start where it exists before). Several, separated by commas, rehearse one death after another.
Recovery is tested at the exact instants between two steps, which no outside observer can hit.
"""

import os
import signal
from pathlib import Path

POINTS = (
    "agent.pulled",  # between pull and persist
    "agent.persisted",  # between persist and train
    "agent.answered",  # between the stored answer and push
    "agent.pushing",  # between push and acknowledgement
    "trainer.training",
    "trainer.evaluating",
    "trainer.validating",
    "coordinator.asked",  # work handed out, nothing back
    "coordinator.received",  # one answer in
    "coordinator.aggregated",  # the mean is in memory only
    "coordinator.checkpointing",  # the new file is written, not yet in its place
    "coordinator.evaluating",
)


def point(name: str, round: int) -> None:
    """Die here if the environment says so."""
    for wanted in filter(None, os.environ.get("FEDTUI_CRASH", "").split(",")):
        where, _, marker = wanted.partition("=")
        if where == f"{name}@{round}" and not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
