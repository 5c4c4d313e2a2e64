"""How many packets on the way to the coordinator must be sent again."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator

from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("hello",)
AFTER = ("mtu",)  # a black hole is no loss
NETWORK = True
DEEP = True

_CONNECTIONS, _REQUESTS = 4, 50
_SECONDS = 6.0
_FEWEST = 60  # packets; fewer tell nothing about some percent
_WARN, _FAIL = 0.02, 0.05
_LIMIT = "below 2 % sent again, 5 % fails (TRUST.md section 4.1; 1 % is common on radio links)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Ask small questions on several connections and read the kernel's own counts."""
    counts: list[tuple[int, int]] = []
    threads = [
        threading.Thread(target=lambda: counts.append(_ask(inquiry)), daemon=True)
        for _ in range(_CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_SECONDS + 3 * _wire.ANSWER_SECONDS)
    sent, again = (sum(values) for values in zip(*counts, strict=True)) if counts else (0, 0)
    yield _judged(inquiry, sent, again)


def _ask(inquiry: Inquiry) -> tuple[int, int]:
    until = time.monotonic() + _SECONDS
    with contextlib.suppress(OSError), _wire.session(inquiry) as session:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for _ in range(_REQUESTS):
                session.request("GET", "/fedtui/hello")
                if time.monotonic() > until:
                    break
        return _wire.segments(session.sock)
    return 0, 0


def _judged(inquiry: Inquiry, sent: int, again: int) -> Finding:
    if sent < _FEWEST:
        return Finding(
            state=State.UNKNOWN,
            code="loss-unknown",
            measured=f"{sent} packets",
            threshold=_LIMIT,
            meaning="Too few packets got through to count losses.",
            remedy="Look at the other findings first, then try again.",
        )
    share = again / sent
    measured = f"{100 * share:.1f} % of {sent} packets sent again"
    if share < _WARN:
        return Finding(
            state=State.OK,
            code="loss-ok",
            measured=measured,
            value=round(share, 4),
            unit="1",
            threshold=_LIMIT,
            meaning="Hardly a packet is lost on the way out.",
        )
    return Finding(
        state=State.WARN if share < _FAIL else State.FAIL,
        code="loss-high",
        measured=measured,
        value=round(share, 4),
        unit="1",
        threshold=_LIMIT,
        meaning="Packets to the coordinator are lost: transfers take many times longer. The way "
        "back is counted at the other end only.",
        remedy="Ask the network team to look for a bad cable, radio link, or a full line.",
        ticket=ticket(inquiry, "find the packet loss towards the coordinator", measured),
    )
