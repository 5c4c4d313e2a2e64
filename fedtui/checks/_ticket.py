"""The text that an operator pastes into a ticket for the network team."""

import socket
from datetime import UTC, datetime

from fedtui.checks._inquiry import Inquiry


def ticket(inquiry: Inquiry, request: str, *evidence: str) -> str:
    """A request with everything a network team asks back for: who, whom, port, way, when, proof."""
    target = inquiry.dialled
    addresses = ", ".join(inquiry.addresses) or "not resolved here"
    way = f"through the proxy {inquiry.proxy.shown}" if inquiry.proxy else "direct"
    lines = [
        f"Request:   {request}",
        f"From:      {socket.gethostname()} ({source(inquiry) or 'address unknown'})",
        f"To:        {target.host} ({addresses}), TCP port {target.port}",
        f"Direction: outbound only, {way}; nothing connects inwards",
        "Protocol:  TLS 1.3 (1.2 accepted) with the federation's own authority, HTTP/1.1 inside",
        f"Seen at:   {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC by fedtui check",
        *(f"Evidence:  {line}" for line in evidence),
    ]
    return "\n".join(lines)


def source(inquiry: Inquiry) -> str:
    """This host's address towards the coordinator; no packet is sent."""
    target = inquiry.dialled
    for address in inquiry.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((address, target.port))
                return str(sock.getsockname()[0])
        except OSError:
            continue
    return ""
