"""Whether full-size packets get through, or vanish where the way is narrower than it says."""

import http.client
import socket
from collections.abc import Iterator

from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("hello",)
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = True

_PADDING = "0" * 3000  # bytes; two full Ethernet packets, and within every HTTP header limit
_SECONDS = 4.0
_SEGMENTS = (1400, 1340, 1240, 1000, 536)  # bytes; Ethernet behind VPNs and tunnels of many kinds
_HEADERS = 40  # bytes of IPv4 and TCP around a segment; 60 for IPv6
_LIMIT = "1500 byte packets, or an ICMP answer that says otherwise (RFC 1191)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Send a request of two packets; if it stalls, again with smaller and smaller packets."""
    whole = _passes(inquiry, 0)
    if whole:
        yield Finding(
            state=State.OK,
            code="mtu-ok",
            measured=f"{whole} B segments",
            value=float(whole),
            unit="B",
            threshold=_LIMIT,
            meaning="Full-size packets reach the coordinator.",
        )
        return
    for segment in _SEGMENTS:
        if _passes(inquiry, segment):
            size = segment + _HEADERS
            yield Finding(
                state=State.FAIL,
                code="mtu-black-hole",
                measured=f"{size} B pass, larger do not",
                value=float(size),
                unit="B",
                threshold=_LIMIT,
                meaning=f"Small packets pass and packets of more than about {size} bytes vanish "
                "without a word: handshakes work, models stall.",
                remedy=f"Ask the network team; until then: ip route change … mtu {size}, or an "
                f"MSS clamp of {segment} on the gateway.",
                ticket=ticket(
                    inquiry,
                    "clamp the MSS, or let ICMP 'fragmentation needed' pass",
                    f"segments of {segment} B pass, full-size ones vanish",
                ),
            )
            return
    yield Finding(
        state=State.UNKNOWN,
        code="mtu-unknown",
        measured=f"stalls at {len(_PADDING)} B",
        threshold=_LIMIT,
        meaning="A request of 3 kB stalls whatever the size of its packets; a small one does not.",
        remedy="Ask the network team what filters or delays larger requests.",
    )


def _passes(inquiry: Inquiry, segment: int) -> int:
    """The segment size of a connection that carries the large request; 0 when it does not."""
    try:
        with _wire.session(inquiry, segment=segment) as session:
            session.request("GET", "/fedtui/hello")
            used = session.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            seconds = _SECONDS if segment == 0 else _SECONDS / 2
            session.request(
                "GET", "/fedtui/hello", headers={"x-fedtui-padding": _PADDING}, timeout=seconds
            )
            return int(used)
    except (OSError, http.client.HTTPException):
        return 0
