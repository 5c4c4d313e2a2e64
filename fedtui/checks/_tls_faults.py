"""Names for handshakes that end before any certificate: cut off, in clear, too old, silent."""

import contextlib
import json
import re
import ssl

from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket
from fedtui.checks._tls_trust import distrusted, failed

_PATIENCE = 0.7  # seconds; who closes before we speak closes at once
_PLAIN = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "BAD_RECORD_TYPE",
    "UNEXPECTED_MESSAGE",
)
_OLD = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW")


def is_cut(error: OSError) -> bool:
    """Whether the other end hung up instead of finishing the handshake."""
    if isinstance(error, _wire.ProxyRefusedError):
        return False
    cut = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)
    return isinstance(error, cut) or "EOF" in str(error)


def named(inquiry: Inquiry, error: OSError) -> Finding:
    """What a failed handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return distrusted(inquiry, error)
    if is_cut(error):
        return _cut(inquiry, error)
    reason = getattr(error, "reason", None) or ""
    if reason in _PLAIN:
        return _plain(inquiry, error, _said_in_clear(inquiry))
    if reason in _OLD:
        return failed(
            inquiry,
            "tls-too-old",
            "below TLS 1.2",
            error,
            "The other end offers only TLS 1.1 or older: a very old gateway in between, since the "
            "coordinator itself speaks TLS 1.3.",
            "Ask the network team to let TLS 1.2 or newer pass to this address.",
        )
    if isinstance(error, TimeoutError) and (said := _said_in_clear(inquiry)):
        return _plain(inquiry, error, said)  # it waited for a line that TLS never sends
    if isinstance(error, TimeoutError):
        return failed(
            inquiry,
            "tls-silent",
            f"no answer in {_wire.HANDSHAKE_SECONDS:.0f} s",
            error,
            "The connection opens and then says nothing: a coordinator that hangs, or a firewall "
            "that lets a connection open and drops what follows. One end cannot tell these apart.",
            "Ask the coordinator's operator whether other sites are connected; if they are, give "
            "the ticket to the network team.",
        )
    if isinstance(error, ssl.SSLError):
        return failed(
            inquiry,
            "tls-refused",
            reason.lower().replace("_", " ") or "refused",
            error,
            "The other end speaks TLS and refuses ours: not a fedtui coordinator, or a gateway "
            "with rules of its own.",
            "Check the address with the coordinator's operator; then give the ticket on.",
        )
    return Finding(
        state=State.UNKNOWN,
        code="tls-unknown",
        measured=type(error).__name__,
        meaning="The handshake failed in a way we do not know.",
        remedy="Run the check again, then give the evidence to the network team.",
        ticket=ticket(inquiry, "let TLS pass", f"handshake: {error}"),
    )


def _cut(inquiry: Inquiry, error: OSError) -> Finding:
    at_once = _closes_unasked(inquiry)
    if not at_once and _works_unnamed(inquiry):
        return failed(
            inquiry,
            "tls-name-filtered",
            "cut off by name",
            error,
            f"Handshakes that name {inquiry.dialled.host} are cut off, those without a name are "
            "not: a filter reads the server name.",
            "Ask the network team to allow this name.",
        )
    if at_once:
        return failed(
            inquiry,
            "tls-closed-at-once",
            "closed before TLS",
            error,
            "The connection is accepted and closed before a word was said: a load balancer or "
            "tunnel whose coordinator is down, or a firewall that accepts in its name.",
            "Ask the coordinator's operator whether it runs; if it does, give the ticket on.",
        )
    return failed(
        inquiry,
        "tls-closed",
        "closed in the handshake",
        error,
        "The connection is cut as soon as encryption begins: deep packet inspection that forbids "
        "it, or a coordinator that is just restarting. One end cannot tell these apart.",
        "Try again in a minute; if it stays so, give the ticket to the network team.",
    )


def _closes_unasked(inquiry: Inquiry) -> bool:
    try:
        with _wire.reach(inquiry) as sock:
            sock.settimeout(_PATIENCE)
            return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def _works_unnamed(inquiry: Inquiry) -> bool:
    try:
        _wire.handshake(_wire.reach(inquiry), _wire.blind(), name=None).close()
    except OSError:
        return False
    return True


def _plain(inquiry: Inquiry, error: OSError, said: bytes) -> Finding:
    head, _, body = said.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if _is_hello(body):
        return failed(
            inquiry,
            "tls-plain",
            "no TLS",
            error,
            "The coordinator answers without encryption: it, or the gateway before it, runs "
            "without TLS. Nothing of ours was sent.",
            "Ask the coordinator's operator to publish the TLS port.",
        )
    if status and (status[1][:1] == b"3" or status[1] == b"511" or b"<html" in said.lower()):
        return failed(
            inquiry,
            "tls-captive-page",
            f"HTTP {status[1].decode()} page",
            error,
            "A web page answers in the coordinator's place, in clear: a captive portal that wants "
            "a login, or a filter's block page.",
            "Log in to the network, or ask the network team to allow this address.",
        )
    shown = said.splitlines()[0][:40].decode("latin-1") if said.strip() else "no TLS"
    return failed(
        inquiry,
        "tls-other-service",
        shown,
        error,
        "Something that is not TLS answers at this port: another service, or a coordinator "
        "published without TLS.",
        "Check the address and port with the coordinator's operator.",
    )


def _is_hello(body: bytes) -> bool:
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and "fedtui" in document


def _said_in_clear(inquiry: Inquiry) -> bytes:
    host = inquiry.dialled.address
    request = f"GET /fedtui/hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    said = b""
    with contextlib.suppress(OSError), _wire.reach(inquiry) as sock:
        sock.settimeout(2.0)
        sock.sendall(request.encode())
        while len(said) < 8192 and (piece := sock.recv(8192)):
            said += piece
    return said
