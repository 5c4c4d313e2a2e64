"""Whether the other end is the federation's coordinator, with nobody in between."""

import http.client
import ssl
from collections.abc import Iterator

from fedtui.checks import Finding, State, _certificate, _tls_faults, _tls_trust, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._wire import Session

NEEDS = ("tcp", "proxy")
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = False

_TRIES = 3  # a coordinator that restarts cuts one handshake; DPI cuts every one
_WARN_DAYS, _FAIL_DAYS = 30.0, 7.0  # of the server's 90; renewal is due at 30
_LIMIT = "TLS 1.3, the federation's own authority, 30 days left (TRUST.md section 4.1)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Shake hands as the agent does; look closer, trusting nobody, at what is refused."""
    cut = 0
    while True:
        try:
            inquiry.session = _wire.session(inquiry)
            break
        except OSError as error:
            if _tls_faults.is_cut(error) and (cut := cut + 1) < _TRIES:
                continue
            yield _tls_faults.named(inquiry, error)
            return
        except ValueError:  # after OSError: a refused certificate is both
            yield Finding(
                state=State.FAIL,
                code="tls-no-authority",
                measured="not a certificate",
                threshold=_LIMIT,
                meaning="What the invitation or federation.toml holds as the federation's "
                "authority is no certificate: nobody can be trusted with it.",
                remedy="Ask the coordinator's operator for a new invitation, and join with it.",
                exit_code=5,
            )
            return
    if cut:
        yield Finding(
            state=State.WARN,
            code="tls-flaky",
            measured=f"{cut} of {cut + 1} cut off",
            value=float(cut),
            unit="handshakes",
            threshold="none cut off",
            meaning="Some handshakes are cut off and the next works: a coordinator or load "
            "balancer that restarts, or a firewall that closes connections at will.",
            remedy="Nothing to do at once; if it stays so, ask the network team.",
        )
    yield _presented(inquiry, inquiry.session)


def _presented(inquiry: Inquiry, session: Session) -> Finding:
    certificate = _certificate.presented(session.sock)
    version = session.sock.version() or "no version"
    if certificate is None:
        return Finding(
            state=State.UNKNOWN,
            code="tls-unreadable",
            measured=version,
            meaning="The server's certificate cannot be read.",
            remedy="Ask the coordinator's operator.",
        )
    measured = f"{version}, {certificate.days_left:.0f} days left"
    if not inquiry.dialled.authority:
        return _unpinned(inquiry, session, certificate, measured)
    if certificate.days_left < _WARN_DAYS:
        return Finding(
            state=State.FAIL if certificate.days_left < _FAIL_DAYS else State.WARN,
            code="tls-expiring",
            measured=measured,
            value=round(certificate.days_left, 1),
            unit="days",
            threshold=_LIMIT,
            exit_code=5,
            meaning=f"The coordinator's certificate expires in {certificate.days_left:.0f} days; "
            "then no site can connect.",
            remedy="Ask the coordinator's operator to renew it.",
        )
    if version != "TLSv1.3":
        return Finding(
            state=State.WARN,
            code="tls-old-version",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"The connection uses {version}, though the coordinator offers TLSv1.3: "
            "something in between holds it down.",
            remedy="It works; ask the network team what handles TLS on the way.",
        )
    return Finding(
        state=State.OK,
        code="tls-ok",
        measured=measured,
        value=round(certificate.days_left, 1),
        unit="days",
        threshold=_LIMIT,
        meaning=f"{certificate.issuer} vouches for {inquiry.dialled.host}.",
    )


def _unpinned(
    inquiry: Inquiry, session: Session, certificate: _certificate.Presented, measured: str
) -> Finding:
    """Before an invitation nothing can be proven; only a wrong issuer shows."""
    if certificate.from_fedtui:
        return Finding(
            state=State.UNKNOWN,
            code="tls-unpinned",
            measured=measured,
            meaning=f"{certificate.issuer} issued the certificate, so it says; without an "
            "invitation this is not proven.",
            remedy="Check again with the invitation, or after 'fedtui join'.",
        )
    try:
        inquiry.hello = _wire.ask_hello(session, pinned=False)
    except (OSError, http.client.HTTPException):
        inquiry.hello = None
    return _tls_trust.foreign(inquiry, certificate, ssl.SSLError("not of a federation"))
