"""Whether the running agent holds its link and has exchanged a real Flower message."""

import time
from collections.abc import Iterator

from fedtui import orders, processes
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._told import last
from fedtui.errors import OperatorError
from fedtui.events import WorkAnswered
from fedtui.progress import BELONGING
from fedtui.site import Home

NEEDS: tuple[str, ...] = ()
AFTER = ("config", "leftovers")
NETWORK = False
DEEP = False

_LIMIT = "the agent's link is up (order 'status' on its socket)"
_NODE = "attached, and its Flower node's heartbeat was accepted"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Ask the agent; only it may speak Flower for this site."""
    home = inquiry.home
    if home is None or processes.running(home, "agent") is None:
        yield Finding(
            state=State.SKIP,
            code="agent-down",
            meaning="Not measured: no agent runs; only it exchanges Flower messages.",
            remedy="'fedtui up' starts it.",
        )
        return
    try:
        status = orders.order(home, "agent", "status")
    except OperatorError as error:
        yield Finding(
            state=State.WARN,
            code="agent-silent",
            threshold=_LIMIT,
            exit_code=4,
            meaning=str(error),
            remedy=error.remedy,
        )
        return
    link, state = str(status.get("link", "unknown")), str(status.get("state", "unknown"))
    measured = f"link {link}, {state}"
    if link == "up":
        yield Finding(
            state=State.OK,
            code="agent-ok",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"The agent is {_NODE}. {_exchanged(home)}",
        )
    elif link == "starting":
        yield Finding(
            state=State.UNKNOWN,
            code="agent-starting",
            measured=measured,
            threshold=_LIMIT,
            meaning="The agent has not attached yet.",
            remedy="Check again in a few seconds.",
        )
    elif link in BELONGING:
        yield Finding(
            state=State.WARN,
            code="agent-not-let-in",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"The agent reaches the coordinator, which does not let this site in: {link}. "
            "It keeps trying by itself.",
            remedy="The finding 'identity' says why; the network is well.",
        )
    else:
        yield Finding(
            state=State.WARN,
            code="agent-link-down",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"The agent's link is down: {link}. It keeps trying by itself.",
            remedy="The network findings say what is in the way; 'fedtui logs' since when.",
        )


def _exchanged(home: Home) -> str:
    """What the journal tells of the last Flower message that went both ways."""
    record = last(home, WorkAnswered)
    if record is None or not isinstance(record.event, WorkAnswered):
        return "No work has come yet."
    event, ago = record.event, time.time() - record.time
    return (
        f"Its last Flower message was answered {ago:.0f} s ago: {event.bytes_received} bytes in "
        f"{event.seconds.get('pull', 0.0):.2f} s, {event.bytes_sent} bytes out in "
        f"{event.seconds.get('push', 0.0):.2f} s."
    )
