"""Names for certificates that are refused: a second look, trusting nobody, says whose they are."""

import contextlib
import http.client
import ssl
import time

from fedtui import site
from fedtui.checks import Finding, State, _certificate, _wire
from fedtui.checks._certificate import Presented
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._target import from_home
from fedtui.checks._ticket import ticket
from fedtui.checks._wire import Session
from fedtui.errors import OperatorError

_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_*, openssl/x509_vfy.h
_WRONG_NAME = (62, 64)
_WEAK = (66, 67, 68)
_WRONG_PURPOSE = (26, 79)


def distrusted(inquiry: Inquiry, error: ssl.SSLCertVerificationError) -> Finding:
    """What OpenSSL's reason means here."""
    certificate = _second_look(inquiry)
    code = error.verify_code
    if certificate is None:
        return Finding(
            state=State.UNKNOWN,
            code="tls-unreadable",
            measured=f"verify code {code}",
            meaning="The certificate was refused and could not be looked at a second time.",
            remedy="Run the check again.",
        )
    if code in (_EXPIRED, _NOT_YET):
        return _dates(inquiry, certificate, error)
    if code in _WRONG_NAME:
        names = ", ".join(certificate.names) or "no name"
        return _refused(
            inquiry,
            "tls-wrong-name",
            names,
            error,
            f"The coordinator's certificate is for {names}, not for {inquiry.dialled.host}.",
            "Dial one of those names, or ask the coordinator's operator to add this one.",
        )
    if code in _WEAK:
        return _refused(
            inquiry,
            "tls-weak-key",
            "key too weak",
            error,
            "The certificate's key is too short to be trusted; fedtui makes no such keys.",
            "Ask the coordinator's operator which certificate is installed.",
        )
    if code in _WRONG_PURPOSE:
        return _refused(
            inquiry,
            "tls-wrong-purpose",
            "not a server's",
            error,
            "The certificate was made for another purpose than a server's.",
            "Ask the coordinator's operator to install the server certificate.",
        )
    return foreign(inquiry, certificate, error)


def _second_look(inquiry: Inquiry) -> Presented | None:
    """The certificate that was refused, and a hello that proves nothing, for the clock."""
    target = inquiry.dialled
    try:
        sock = _wire.handshake(_wire.reach(inquiry), _wire.blind(), name=target.host)
    except OSError:
        return None
    with Session(sock, target) as session:
        with contextlib.suppress(OSError, http.client.HTTPException):
            inquiry.hello = _wire.ask_hello(session, pinned=False)
        return _certificate.presented(sock)


def _dates(inquiry: Inquiry, certificate: Presented, error: ssl.SSLError) -> Finding:
    begins, ends = (
        time.strftime("%Y-%m-%d", time.gmtime(t)) for t in (certificate.begins, certificate.ends)
    )
    theirs = inquiry.hello.server_time if inquiry.hello else None
    if certificate.holds_at(time.time()):
        return _refused(
            inquiry,
            "tls-authority-expired",
            "the authority's dates",
            error,
            "The server's certificate is valid, but the federation's authority above it is not, by "
            "this host's clock.",
            "Compare the clocks; else the coordinator must set up the federation anew.",
        )
    expired = time.time() > certificate.ends
    if theirs is not None and certificate.holds_at(theirs):
        return _refused(
            inquiry,
            "tls-clock",
            f"valid {begins} to {ends}",
            error,
            f"By this host's clock ({time.strftime('%Y-%m-%d')}) the certificate is "
            f"{'expired' if expired else 'not yet valid'}, by the server's it is valid: this "
            "host's clock is wrong.",
            "Set this host's clock (chrony or systemd-timesyncd), then check again.",
        )
    code, what = (
        ("tls-expired", f"expired on {ends}")
        if expired
        else ("tls-not-yet-valid", f"is valid only from {begins}")
    )
    return _refused(
        inquiry,
        code,
        f"valid {begins} to {ends}",
        error,
        f"The coordinator's certificate {what}.",
        "Ask the coordinator's operator to renew it, and compare both clocks.",
    )


def foreign(inquiry: Inquiry, certificate: Presented, error: ssl.SSLError) -> Finding:
    """A certificate that this federation's authority did not issue."""
    target, issuer = inquiry.dialled, certificate.issuer
    ours = _certificate.authority_name(target.authority) if target.authority else ""
    if certificate.from_fedtui:
        if _own_coordinator(inquiry):
            return _refused(
                inquiry,
                "tls-wrong-authority",
                issuer,
                error,
                f"This home coordinates, and another process answers at {target.address}, with a "
                f"certificate from {issuer}: another home's coordinator on this port, or the "
                "address leads to another host.",
                f"Find out which process listens on port {target.port} ('ss -ltnp'): stop it, or "
                "give one of the two homes another [coordinator] port in its site.toml.",
            )
        same = "an authority of the same name that was made anew" if issuer == ours else issuer
        return _refused(
            inquiry,
            "tls-wrong-authority",
            issuer,
            error,
            f"The certificate is from {same}, not from the authority in the invitation: another "
            "federation, or a coordinator that was set up again.",
            "Ask the coordinator's operator for a new invitation.",
        )
    hello = inquiry.hello
    if hello is not None and hello.document is not None and "fedtui" in hello.document:
        return _refused(
            inquiry,
            "tls-intercepted",
            f"issued by {issuer}",
            error,
            f"'{issuer}' opens the connection to the coordinator and closes it with a certificate "
            "of its own: TLS inspection.",
            f"Ask for an exception from TLS inspection for {target.address}.",
            request=f"exempt {target.address} from TLS inspection",
        )
    return _refused(
        inquiry,
        "tls-foreign",
        f"issued by {issuer}",
        error,
        f"Not the coordinator answers, but {certificate.subject} (issued by {issuer}): TLS "
        "inspection with a page of its own, or another server at this address. One end cannot "
        "tell these apart.",
        "Check the address with the coordinator's operator; if it is right, give the ticket to "
        "the network team.",
        request=f"exempt {target.address} from TLS inspection and filtering",
    )


def _own_coordinator(inquiry: Inquiry) -> bool:
    """Whether the home that asks is itself the coordinator that it looks for."""
    if inquiry.home is None:
        return False
    try:
        return site.load(inquiry.home).coordinates and from_home(inquiry.home) == inquiry.target
    except OperatorError:  # the check 'config' names it
        return False


def _refused(
    inquiry: Inquiry,
    code: str,
    measured: str,
    error: OSError,
    meaning: str,
    remedy: str,
    request: str = "",
) -> Finding:
    asked = request or f"let TLS to {inquiry.dialled.address} pass unopened"
    return failed(inquiry, code, measured, error, meaning, remedy, request=asked, exit_code=5)


def failed(
    inquiry: Inquiry,
    code: str,
    measured: str,
    error: OSError,
    meaning: str,
    remedy: str,
    request: str = "",
    exit_code: int = 3,
) -> Finding:
    """A failed handshake, with its ticket."""
    address = inquiry.dialled.address
    return Finding(
        state=State.FAIL,
        code=code,
        measured=measured,
        meaning=meaning,
        remedy=remedy,
        threshold="a handshake with the federation's own server (TLS 1.2 or newer)",
        ticket=ticket(
            inquiry,
            request or f"let TLS connections to {address} through unchanged",
            f"TLS handshake: {getattr(error, 'reason', None) or error}",
            f"measured: {measured}",
        ),
        exit_code=exit_code,
    )
