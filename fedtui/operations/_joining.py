"""A site joins a federation: by a code or file with a secret, by a file for its key, or to Flower.

What a stranger's coordinator answers is believed only from the authority that the invitation pins.
"""

import hmac
import ipaddress
import json
import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui import events, invitations, site, study
from fedtui.errors import BusyError, NetworkError, OperatorError, TrustError, UsageError
from fedtui.invitations import Claim, Code
from fedtui.journal import Journal
from fedtui.operations._homes import create, write_membership
from fedtui.site import Home, Membership
from fedtui.study import PROTOCOL

_CLOCK_SECONDS = (4.0, 60.0)  # ahead (Flower refuses 5 s), behind (the coordinator's own limit)
_LONGEST_ANSWER = 1 << 16  # bytes
_POLL_SECONDS = 2.0
_BUSY_SECONDS = 30.0  # a coordinator that asks for patience is asked again this long


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A site that has used its invitation.

    Attributes:
        words: To compare with what the coordinator's operator sees, by phone.
        enrolled: Whether that operator has confirmed them.
    """

    site: str
    coordinator: str
    member: Membership
    words: str
    enrolled: bool
    claim: Claim
    verifier: bytes


def claim(home: Home, invitation: str) -> Pending:
    """Use an invitation: pin the coordinator, make this site's home and keys, register the key.

    Safe to repeat: the same home may use the same invitation again.

    Args:
        invitation: A code, or the name of an invitation file with a secret.

    Raises:
        UsageError: the code has a typing mistake, or the file cannot be read.
        NetworkError: the coordinator was not reached.
        TrustError: it is not the invitation's coordinator, or it refuses the invitation.
        BusyError: this site belongs to another federation.
    """
    from fedtui import keys

    code, pem, addresses = _read(invitation)
    own = site.load(home) if home.settings.exists() else None
    verifier = invitations.verifier_of(code.secret)
    door = _Door(code.address)
    try:
        authority = door.authority(code, verifier, pem)
        _check_other_federation(home, authority)
        home.path.mkdir(parents=True, mode=0o700, exist_ok=True)
        home.keys.mkdir(mode=0o700, exist_ok=True)
        public = keys.node_key(home.keys)
        request = Claim(
            handle=invitations.handle_of(verifier),
            site=own.name if own else "",
            key=keys.public_bytes(public).decode(),
            nonce=secrets.token_hex(16),
        )
        answer = door.claim(request, verifier, authority)
    finally:
        door.close()
    name = str(answer["site"])
    if own is None:
        create(home, name)
    member = Membership(
        address=code.address,
        authority=authority,
        addresses=addresses or tuple(filter(_is_address, answer.get("addresses") or ())),
    )
    if not home.membership.exists() or site.load_membership(home) != member:
        write_membership(home, member)
        book = Journal(home.journal, source="operator")
        fingerprint = keys.authority_fingerprint(authority.encode())
        book.append(events.FederationJoined(address=code.address, authority=fingerprint))
        book.close()
    home.ended.unlink(missing_ok=True)
    words = invitations.words_of(
        verifier, site=name, key=request.key, authority=keys.der(authority.encode())
    )
    return Pending(
        site=name,
        coordinator=str(answer["coordinator"]),
        member=member,
        words=" ".join(words),
        enrolled=answer["state"] == "enrolled",
        claim=request,
        verifier=verifier,
    )


def await_confirmation(pending: Pending, *, on_trouble: Callable[[str], None]) -> None:
    """Return once the coordinator's operator has confirmed ``pending``, however long it takes.

    Args:
        on_trouble: Told what is in the way of asking, whenever that changes; empty for nothing.

    Raises:
        TrustError: the operator declined.
    """
    trouble, pause = "", _POLL_SECONDS
    while not pending.enrolled:
        time.sleep(pause)
        door = _Door(pending.member.address)
        try:
            answer = door.claim(pending.claim, pending.verifier, pending.member.authority)
            now, pause = "", _POLL_SECONDS
            if answer["state"] == "enrolled":
                return
        except NetworkError as error:
            now, pause = str(error), min(15.0, pause * 1.5)
        finally:
            door.close()
        if now != trouble:
            trouble = now
            on_trouble(now)


def join(home: Home, invitation: Path) -> Membership:
    """Pin the coordinator of an invitation that was made for this site's key; nothing is sent.

    Raises:
        TrustError: it is for another site or key, or not an invitation.
        UsageError: the file cannot be read.
        BusyError: the site has joined a federation already.
    """
    from fedtui import keys

    own = site.load(home)
    document = _document(invitation)
    fields = [document.get(name) for name in ("site", "key", "address", "authority")]
    if document.get("fedtui-invitation") != 1 or not all(isinstance(v, str) for v in fields):
        raise _no_invitation(invitation)
    name, key, address, authority = map(str, fields)
    mine = keys.fingerprint(keys.load_private(home.keys / "node.key").public_key())
    if (name, key) != (own.name, mine):
        raise TrustError(
            f"This invitation is for {name} with key {key[:14]}…, not for this site.",
            remedy=f"Ask for one for {own.name} with key {mine}.",
        )
    _check_not_joined(home)
    fingerprint = keys.authority_fingerprint(authority.encode())
    member = Membership(
        address=address, authority=authority, addresses=_addresses(document, invitation)
    )
    _check_address(member)
    write_membership(home, member)
    book = Journal(home.journal, source="operator")
    book.append(events.FederationJoined(address=address, authority=fingerprint))
    book.close()
    return member


def join_flower(home: Home, address: str, *, authority: Path, agreed: Path) -> Membership:
    """Serve a stock Flower SuperLink in one study on public data; nothing is sent yet.

    Args:
        address: HOST:PORT of the SuperLink.
        authority: Its certificate authority, PEM.
        agreed: The study, marked interop, with this site in it.

    Raises:
        TrustError: the study is not marked interop or does not name this site.
        UsageError: a file cannot be read.
        BusyError: the site has joined a federation already.
    """
    from fedtui import keys

    own = site.load(home)
    terms = study.load(agreed)
    if not terms.interop or own.name not in terms.sites:
        raise TrustError(
            f"Study {terms.id} is not marked interop, or does not name {own.name}.",
            remedy="Only public or synthetic data may meet a stock Flower peer.",
        )
    _check_not_joined(home)
    certificate = authority.read_text(encoding="ascii")
    fingerprint = keys.authority_fingerprint(certificate.encode())
    member = Membership(address=address, authority=certificate, kind="flower")
    _check_address(member)
    keys.write_atomically(home.interop, agreed.read_bytes())
    write_membership(home, member)
    book = Journal(home.journal, source="operator")
    book.append(events.FederationJoined(address=address, authority=fingerprint))
    book.close()
    return member


def needs_key(invitation: Path) -> bool:
    """Whether this file is an invitation for one key, without a secret."""
    return _document(invitation).get("fedtui-invitation") == 1


class _Door:
    """The four things that a coordinator answers before a site is enrolled."""

    def __init__(self, address: str) -> None:
        self._address, self._presented = address, b""
        self._clients: list[Any] = []

    def authority(self, code: Code, verifier: bytes, pem: str) -> str:
        """The certificate, PEM, that the invitation pins; version and clock agree as well.

        Args:
            pem: What an invitation file holds; else it is fetched from whoever answers.
        """
        from fedtui import keys

        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        blind.minimum_version = ssl.TLSVersion.TLSv1_2
        stranger = self._client(blind)
        hello, seconds = self._json(stranger, "/fedtui/hello")
        if "fedtui" not in hello or "protocol" not in hello:
            raise self._foreign()
        _check_version(hello)
        _check_clock(hello, seconds)
        found = pem or self._get(stranger, "/fedtui/authority").decode("ascii", "replace")
        try:
            der = keys.der(found.encode())
        except TrustError as error:
            raise self._foreign() from error
        if not hmac.compare_digest(invitations.pin_of(der, verifier), code.pin):
            raise TrustError(
                f"Not the coordinator of this invitation answers at {self._address}: another "
                "federation, one that was set up anew, or someone who pretends to be it.",
                remedy="Ask the coordinator's operator by phone for the address and a new code.",
            )
        return found

    def claim(self, request: Claim, verifier: bytes, authority: str) -> dict[str, Any]:
        """The coordinator's answer to ``request``, proven to come from a holder of the secret."""
        from fedtui import keys, transport

        der = keys.der(authority.encode())
        proof = invitations.prove(verifier, request, authority=der)
        fields = ("handle", "site", "key", "nonce")
        body = json.dumps({name: getattr(request, name) for name in fields} | {"proof": proof})
        pinned = self._client(transport.pinned(authority))
        status, content = self._ask(pinned, "POST", "/fedtui/enrol", body.encode())
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._foreign() from error
        if not isinstance(answer, dict):
            raise self._foreign()
        if status == 403 and "error" in answer:
            raise invitations.refused(str(answer["error"]))
        if status != 200:
            raise NetworkError(
                f"The coordinator at {self._address} cannot enrol anybody now (status {status}).",
                remedy="Try again in a minute; the invitation is not used up by it.",
            )
        name = str(answer.get("site"))
        expected = invitations.prove(verifier, request, authority=der, answer=name)
        if not hmac.compare_digest(expected.encode(), str(answer.get("proof")).encode()):
            raise TrustError(
                "The coordinator did not prove that it knows this invitation.",
                remedy="Call its operator; do not go on with this code.",
            )
        if not site.NAME.fullmatch(name) or answer.get("state") not in ("pending", "enrolled"):
            raise self._foreign()
        return answer

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def _client(self, context: ssl.SSLContext) -> Any:
        from fedtui import transport

        self._clients.append(transport.client(self._address, context, transport.TIMEOUT))
        return self._clients[-1]

    def _get(self, client: Any, path: str) -> bytes:
        status, content = self._ask(client, "GET", path, b"")
        if status != 200:
            raise self._foreign()
        return content

    def _ask(self, client: Any, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            status, content = self._send(client, method, path, body)
            if status != 429:
                return status, content
            if time.monotonic() > until:
                raise NetworkError(
                    f"The coordinator at {self._address} answers too many others now.",
                    remedy="Try again in a minute; the invitation is not used up.",
                )
            time.sleep(_POLL_SECONDS)

    def _json(self, client: Any, path: str) -> tuple[dict[str, Any], float]:
        began = time.monotonic()
        content = self._get(client, path)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._foreign() from error
        if not isinstance(document, dict):
            raise self._foreign()
        return document, time.monotonic() - began

    def _send(self, client: Any, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        import httpx

        from fedtui import transport

        try:
            with client.stream(method, path, content=body) as response:
                stream = response.extensions["network_stream"]
                if (tls := stream.get_extra_info("ssl_object")) is not None:
                    self._presented = tls.getpeercert(True) or b""
                content = b""
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > _LONGEST_ANSWER:
                        raise self._foreign()
                return response.status_code, content
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise self._named(transport.classify(error, self._address)) from error

    def _named(self, error: Any) -> OperatorError:
        if error.code == "certificate":
            issuer = _issuer(self._presented)
            return TrustError(
                f"'{issuer}' opens the encrypted connection to {self._address}: TLS inspection. "
                "The certificate that comes is not the federation's."
                if issuer
                else f"The certificate of {self._address} is not from this federation.",
                remedy=f"Ask the network team to exempt {self._address} from TLS inspection.",
            )
        if error.code.startswith("certificate"):
            return TrustError(f"{str(error).capitalize()}.", remedy=error.remedy)
        look = f"'fedtui check {self._address}' says more."
        remedy = look if error.passing else f"{error.remedy} {look}"
        return NetworkError(f"The coordinator was not reached: {error}.", remedy=remedy)

    def _foreign(self) -> NetworkError:
        return NetworkError(
            f"Something else than a fedtui coordinator answers at {self._address}.",
            remedy=f"Compare the address with the coordinator's operator; 'fedtui check "
            f"{self._address}' looks closer.",
        )


def _read(invitation: str) -> tuple[Code, str, tuple[str, ...]]:
    """The code, and of a file also the authority's certificate and the published addresses."""
    path = Path(invitation).expanduser()
    if not path.exists() and invitations.looks_like_code(invitation):
        return invitations.parse(invitation), "", ()
    document = _document(path)
    fields = [document.get(name) for name in ("address", "authority", "secret")]
    if document.get("fedtui-invitation") != 2 or not all(isinstance(v, str) for v in fields):
        raise _no_invitation(path)
    address, authority, secret = map(str, fields)
    _check_address(Membership(address=address, authority=authority))
    from fedtui import keys

    try:
        data = bytes.fromhex(secret)
    except ValueError as error:
        raise _no_invitation(path) from error
    pin = invitations.pin_of(keys.der(authority.encode()), invitations.verifier_of(data))
    return Code(address=address, secret=data, pin=pin), authority, _addresses(document, path)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.",
            remedy="Give the code that 'fedtui invite' printed, or the file that it wrote.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _no_invitation(path) from error
    if not isinstance(document, dict):
        raise _no_invitation(path)
    return document


def _addresses(document: dict[str, Any], path: Path) -> tuple[str, ...]:
    published = document.get("addresses", [])
    if not isinstance(published, list) or not all(map(_is_address, published)):
        raise _no_invitation(path)
    return tuple(map(str, published))


def _check_version(hello: dict[str, Any]) -> None:
    from fedtui import __version__

    if hello["protocol"] != PROTOCOL:
        raise TrustError(
            f"The coordinator speaks protocol {str(hello['protocol'])[:8]} (fedtui "
            f"{str(hello['fedtui'])[:16]}), this fedtui {__version__} speaks {PROTOCOL}.",
            remedy="Install the same minor version of fedtui at both ends.",
        )


def _check_clock(hello: dict[str, Any], seconds: float) -> None:
    """Refuse to go on with a clock that would have every later request refused."""
    try:
        ahead = time.time() - seconds / 2 - float(hello["time"])
    except (KeyError, TypeError, ValueError):
        return
    sure = abs(ahead) - seconds / 2
    if sure > _CLOCK_SECONDS[0 if ahead > 0 else 1]:
        where = "ahead of" if ahead > 0 else "behind"
        raise TrustError(
            f"This host's clock is {abs(ahead):.0f} s {where} the coordinator's.",
            remedy="Set this host's clock (chrony or systemd-timesyncd), then join again; the "
            "invitation is not used up.",
        )


def _check_not_joined(home: Home) -> None:
    if home.membership.exists() and not home.ended.exists():
        raise BusyError(
            "This site has already joined a federation.",
            remedy=f"Remove {home.membership} first if it is to join another.",
        )


def _check_other_federation(home: Home, authority: str) -> None:
    """A site may be enrolled anew in its own federation, also under another address."""
    if home.membership.exists() and not home.ended.exists():
        if site.load_membership(home).authority.strip() == authority.strip():
            return
        _check_not_joined(home)


def _is_address(text: object) -> bool:
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return isinstance(text, str)


def _check_address(member: Membership) -> None:
    host, _, port = member.address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise TrustError(
            "The invitation's address is not HOST:PORT.", remedy="Ask for a new invitation."
        )


def _issuer(certificate: bytes) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        issuer = x509.load_der_x509_certificate(certificate).issuer
    except ValueError:
        return ""
    names = issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    shown = str(names[0].value) if names else issuer.rfc4514_string()
    return shown[:64] if shown.isprintable() else ""


def _no_invitation(path: Path) -> TrustError:
    return TrustError(
        f"{path.name} is not a fedtui invitation.",
        remedy="Ask the coordinator's operator for the file that 'fedtui invite' wrote.",
    )
