"""Whether something in between limits the size of requests; asked by length, without sending it."""

import ssl
import time
from collections.abc import Iterator

from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("hello",)
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = False

NEEDED_BYTES = 6 << 20  # Flower sends objects in chunks of 5 MB, plus their headers
_SMALLER = (4 << 20, 2 << 20, 1 << 20, 512 << 10, 64 << 10)
_WAIT_SECONDS = 3.0
_LIMIT = f"{NEEDED_BYTES >> 20} MiB (Flower 1.41 sends 5 MB chunks)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Announce a large body with 'Expect: 100-continue', and leave once it is welcome or not."""
    status = _announce(inquiry, NEEDED_BYTES)
    if status == 100:
        yield Finding(
            state=State.OK,
            code="body-ok",
            measured=f"{NEEDED_BYTES >> 20} MiB announced",
            threshold=_LIMIT,
            meaning="Nothing on the way refuses requests of Flower's size.",
        )
        return
    if status != 413:
        yield Finding(
            state=State.UNKNOWN,
            code="body-unknown",
            measured=f"HTTP {status}" if status else f"no answer in {_WAIT_SECONDS:.0f} s",
            threshold=_LIMIT,
            meaning="Something on the way does not answer an announced body, so its limit is "
            "not known.",
            remedy="Run with --deep, which sends real data.",
        )
        return
    passing = next((size for size in _SMALLER if _announce(inquiry, size) == 100), 0)
    shown = f"{passing >> 10} KiB pass" if passing else "not even 64 KiB pass"
    yield Finding(
        state=State.FAIL,
        code="body-limit",
        measured=f"{shown}, {NEEDED_BYTES >> 20} MiB do not",
        value=float(passing),
        unit="B",
        threshold=_LIMIT,
        meaning="Something in between limits the size of requests (HTTP 413); models would not "
        "get through.",
        remedy="Ask for a limit of 8 MB: client_max_body_size 8m in nginx, or its like.",
        ticket=ticket(
            inquiry,
            f"allow request bodies of 8 MB to {inquiry.dialled.address}",
            f"HTTP 413 to a POST of {NEEDED_BYTES} bytes; {shown}",
        ),
    )


def _announce(inquiry: Inquiry, size: int) -> int:
    """The status that answers the headers of a POST of ``size`` bytes; 0 when none comes."""
    target = inquiry.dialled
    head = (
        f"POST {_wire.ECHO} HTTP/1.1\r\nhost: {target.address}\r\ncontent-length: {size}\r\n"
        "content-type: application/json\r\nexpect: 100-continue\r\n\r\n"
    )
    try:
        with _wire.session(inquiry) as session:
            session.sock.settimeout(_WAIT_SECONDS)
            session.sock.sendall(head.encode())
            return _status(session.sock)
    except OSError:
        return 0


def _status(sock: ssl.SSLSocket) -> int:
    said, until = b"", time.monotonic() + _WAIT_SECONDS
    while b"\r\n" not in said and len(said) < 1024 and time.monotonic() < until:
        piece = sock.recv(1024)
        if not piece:
            break
        said += piece
    words = said.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
