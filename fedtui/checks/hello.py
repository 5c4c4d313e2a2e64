"""Whether the coordinator answers HTTP, and whether something in between answers for it."""

import http.client
from collections.abc import Iterator

from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Hello, Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("tls",)
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = False

# Our coordinator sends none of these (uvicorn without its server header).
_MARKS = ("via", "x-cache", "x-forwarded-for", "server")


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Say hello on the connection that TLS opened."""
    session = inquiry.session
    if session is None:
        raise ValueError("a hello without a connection")
    try:
        hello = _wire.ask_hello(session, pinned=bool(inquiry.dialled.authority))
    except (OSError, http.client.HTTPException) as error:
        yield _failed(
            inquiry,
            "hello-none",
            type(error).__name__,
            "TLS works, but no HTTP answer comes: a gateway without a coordinator behind it, or "
            "a coordinator that hangs.",
            "Ask the coordinator's operator whether it runs.",
        )
        return
    inquiry.hello = hello
    inquiry.round_trips.append(hello.seconds)
    yield _judged(inquiry, hello)


def _judged(inquiry: Inquiry, hello: Hello) -> Finding:
    measured = f"HTTP {hello.status}, {hello.seconds * 1000:.0f} ms"
    known = hello.document is not None and "fedtui" in hello.document
    if hello.status == 200 and known:
        marks = [f"{name}: {hello.headers[name]}" for name in _MARKS if name in hello.headers]
        if marks:
            return Finding(
                state=State.WARN,
                code="hello-gateway",
                measured="; ".join(marks),
                threshold="no header of a gateway",
                meaning="A gateway that holds the federation's certificate opens the connection "
                f"before the coordinator ({marks[0]}): it sees the updates, and has limits of "
                "its own.",
                remedy="If the coordinator's operator put it there, all is well; else ask.",
            )
        return Finding(
            state=State.OK,
            code="hello-ok",
            measured=measured,
            value=round(hello.seconds, 4),
            unit="s",
            meaning="A fedtui coordinator answers.",
        )
    if hello.status in (502, 503, 504):
        return _failed(
            inquiry,
            "hello-gateway-down",
            measured,
            "A gateway answers for a coordinator that it cannot reach.",
            "Ask the coordinator's operator whether it runs behind its gateway.",
        )
    page = b"<html" in hello.body.lower() or "text/html" in hello.headers.get("content-type", "")
    if page or hello.status in (301, 302, 303, 307, 308, 511):
        return _failed(
            inquiry,
            "hello-page",
            measured,
            "A web page came instead of the coordinator's answer: a captive portal, a block "
            "page, or a gateway's own site.",
            "Log in to the network, or ask the network team to allow this address.",
        )
    return _failed(
        inquiry,
        "hello-foreign",
        measured,
        "Something else than a fedtui coordinator answers at this address.",
        "Check the address and port with the coordinator's operator.",
    )


def _failed(inquiry: Inquiry, code: str, measured: str, meaning: str, remedy: str) -> Finding:
    return Finding(
        state=State.FAIL,
        code=code,
        measured=measured,
        meaning=meaning,
        remedy=remedy,
        threshold="HTTP 200 with a JSON hello",
        ticket=ticket(
            inquiry,
            f"let HTTP over TLS to {inquiry.dialled.address} through",
            f"GET /fedtui/hello: {measured}",
        ),
    )
