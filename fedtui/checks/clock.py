"""How far this host's clock is from the coordinator's; signatures carry the time."""

from collections.abc import Iterator

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry

NEEDS = ("tcp", "proxy")
AFTER = ("tls", "hello")  # a certificate refused for its dates still brings the server's time
NETWORK = True
DEEP = False

AHEAD_REFUSED = 5.0  # seconds; Flower's node authentication, TRUST.md section 0
BEHIND_REFUSED = 60.0  # seconds; fedtui.flower.gate.FRESH_SECONDS
_WARN_AHEAD, _WARN_BEHIND = 2.0, 10.0
_CLOSE = 0.8  # of a limit: what is left may go by before the next look
_LIMIT = (
    f"under {_WARN_AHEAD:.0f} s ahead or {_WARN_BEHIND:.0f} s behind; requests are refused from "
    f"{AHEAD_REFUSED:.0f} s ahead (Flower) or {BEHIND_REFUSED:.0f} s behind (fedtui)"
)


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Compare the clocks at half the round trip; what may be the way's delay is not counted."""
    hello = inquiry.hello
    if hello is None or hello.server_time is None:
        yield Finding(
            state=State.SKIP,
            code="needs",
            meaning="Not measured: needs hello.",
            remedy="Mend what keeps the coordinator from answering.",
        )
        return
    ahead = hello.sent + hello.seconds / 2 - hello.server_time
    doubt = hello.seconds / 2 + hello.resolution
    yield judge(ahead, doubt, proven=hello.pinned)


def judge(ahead: float, doubt: float, *, proven: bool) -> Finding:
    """The finding for a clock ``ahead`` by so many seconds, give or take ``doubt``."""
    certain = max(0.0, abs(ahead) - doubt)
    way = "ahead" if ahead > 0 else "behind"
    refused, warned = (AHEAD_REFUSED, _WARN_AHEAD) if ahead > 0 else (BEHIND_REFUSED, _WARN_BEHIND)
    measured = f"{abs(ahead):.2f} s {way} (±{doubt:.2f} s)"
    note = "" if proven else " The other end's time is not proven: TLS did not hold."
    if certain < warned:
        state, code, remedy = State.OK, "clock-ok", ""
        meaning = "This host's clock agrees with the coordinator's."
    else:
        fails = certain >= _CLOSE * refused
        state, code = (State.FAIL if fails else State.WARN), f"clock-{way}"
        meaning = f"This host's clock is {abs(ahead):.0f} s {way} of the coordinator's. " + (
            "Requests are refused."
            if certain >= refused
            else f"From {refused:.0f} s on, requests are refused."
        )
        remedy = (
            "Set this host's clock: 'timedatectl' shows whether chrony or systemd-timesyncd runs. "
            "If this clock is right, tell the coordinator's operator."
        )
    return Finding(
        state=state,
        code=code,
        measured=measured,
        value=round(ahead, 3),
        unit="s",
        threshold=_LIMIT,
        meaning=meaning + note,
        remedy=remedy,
        exit_code=5,
    )
