"""Whether a real Flower message reaches this site's node, and its answer the coordinator."""

from collections.abc import Iterator

from fedtui import orders, processes
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.errors import OperatorError

NEEDS: tuple[str, ...] = ()
AFTER = ("agent", "roundtrip")
NETWORK = False  # the agent asks; without one there is nothing to measure
DEEP = False

_WARN = 3.0  # seconds; on a healthy link a tenth of one, and each round exchanges two
_LIMIT = f"below {_WARN:.0f} s (fedtui: a round exchanges two such messages)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Have the coordinator send this site's node a message that asks for nothing."""
    home = inquiry.home
    if home is None or processes.running(home, "agent") is None:
        yield _skipped("no agent runs; only it may speak Flower.", "'fedtui up' starts it.")
        return
    try:
        answer = orders.order(home, "agent", "probe")
    except OperatorError as error:
        yield _skipped(f"the agent cannot ask for it: {error}", error.remedy)
        return
    if "seconds" in answer and "lost" not in answer:
        yield _measured(float(answer["seconds"]))
    elif answer.get("busy"):
        yield _skipped("a run is under way; its own messages are the measure.", "See 'agent'.")
    elif answer.get("lost"):
        where = "its answer was lost" if answer.get("pulled") else "this site did not fetch it"
        yield Finding(
            state=State.FAIL,
            code="message-lost",
            measured="no answer",
            threshold=_LIMIT,
            exit_code=3,
            meaning=f"The coordinator sent this site a Flower message and {where}.",
            remedy="Check again; then compare 'body', 'idle' and 'tls' above: something in between "
            "lets small requests through and stops Flower's.",
        )
    else:
        yield Finding(
            state=State.FAIL,
            code="message-refused",
            measured=str(answer.get("refused", "an unknown answer")),
            threshold=_LIMIT,
            exit_code=5,
            meaning="The coordinator could not use this site's answer to a Flower message.",
            remedy="Bring both to the same fedtui ('fedtui --version').",
        )


def _measured(seconds: float) -> Finding:
    well = seconds < _WARN
    return Finding(
        state=State.OK if well else State.WARN,
        code="message-ok" if well else "message-slow",
        measured=f"{seconds * 1000:.0f} ms",
        value=seconds,
        unit="s",
        threshold=_LIMIT,
        meaning="A Flower message came from the coordinator and its answer arrived there, after "
        f"{seconds:.2f} s.",
        remedy="" if well else "Look at 'roundtrip' and 'bandwidth' (--deep): the link is slow.",
    )


def _skipped(why: str, remedy: str) -> Finding:
    return Finding(
        state=State.SKIP, code="message-none", meaning=f"Not measured: {why}", remedy=remedy
    )
