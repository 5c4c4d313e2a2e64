"""How evenly answers come."""

import http.client
from collections.abc import Iterator
from statistics import median, quantiles

from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("hello",)
AFTER = ("loss",)  # both would disturb each other
NETWORK = True
DEEP = True

_REQUESTS = 20
_LIMIT = "19 of 20 answers within 100 ms, or half the median, of the median (fedtui)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Twenty questions one after the other on one connection."""
    try:
        with _wire.session(inquiry) as session:
            times = [session.request("GET", "/fedtui/hello").seconds for _ in range(_REQUESTS + 1)][
                1:
            ]
    except (OSError, http.client.HTTPException) as error:
        yield Finding(
            state=State.UNKNOWN,
            code="jitter-unknown",
            measured=type(error).__name__,
            threshold=_LIMIT,
            meaning="The connection broke while it was measured.",
            remedy="Look at the other findings, then try again.",
        )
        return
    middle, late = median(times), quantiles(times, n=20)[-1]
    spread = late - middle
    measured = f"{spread * 1000:.0f} ms around {middle * 1000:.0f} ms"
    if spread < max(0.1, middle / 2):
        yield Finding(
            state=State.OK,
            code="jitter-ok",
            measured=measured,
            value=round(spread, 4),
            unit="s",
            threshold=_LIMIT,
            meaning="Answers come evenly.",
        )
        return
    yield Finding(
        state=State.WARN,
        code="jitter-high",
        measured=measured,
        value=round(spread, 4),
        unit="s",
        threshold=_LIMIT,
        meaning="Some answers take much longer than others: a full line, a radio link, packets "
        "sent again, or a coordinator with too much to do.",
        remedy="It works; rounds take longer. Ask the network team if it stays so.",
        ticket=ticket(inquiry, "find what delays some packets to the coordinator", measured),
    )
