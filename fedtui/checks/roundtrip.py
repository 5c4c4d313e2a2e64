"""How long a question and its answer take on the open connection."""

from collections.abc import Iterator

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("hello",)
AFTER = ("identity",)
NETWORK = True
DEEP = False

_WARN, _FAIL = 1.0, 5.0  # seconds; an agent reports every second, and gives up after 10
_LIMIT = f"below {_WARN:.0f} s (fedtui: the agent reports every second)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """The quickest request and answer seen in this run: the way's own delay."""
    seconds = min(inquiry.round_trips)
    well = seconds < _WARN
    yield Finding(
        state=State.OK if well else State.WARN if seconds < _FAIL else State.FAIL,
        code="roundtrip-ok" if well else "roundtrip-slow",
        measured=f"{seconds * 1000:.0f} ms",
        value=round(seconds, 4),
        unit="s",
        threshold=_LIMIT,
        meaning="A request and its answer take "
        f"{seconds * 1000:.0f} ms; a round needs about ten of them one after the other.",
        remedy="" if well else "Ask the network team what slows the way down.",
        ticket=""
        if well
        else ticket(
            inquiry,
            "find what delays packets to the coordinator",
            f"quickest round trip {seconds:.2f} s",
        ),
    )
