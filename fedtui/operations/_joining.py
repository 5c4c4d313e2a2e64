"""A site joins a federation: by a code or a secret file, by a file for its key, or to Flower."""

import ipaddress
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui import events, invitations, site, study
from fedtui.errors import BusyError, NetworkError, TrustError, UsageError
from fedtui.invitations import Claim, Code
from fedtui.journal import Journal
from fedtui.operations._door import Door
from fedtui.operations._homes import create, write_membership
from fedtui.site import Home, Membership

_POLL_SECONDS = 2.0


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
    from fedtui import certificates, keys

    code, pem, addresses = _read(invitation)
    own = site.load(home) if home.settings.exists() else None
    verifier = invitations.verifier_of(code.secret)
    door = Door(code.address)
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
        fingerprint = certificates.fingerprint(authority.encode())
        book.append(events.FederationJoined(address=code.address, authority=fingerprint))
        book.close()
    home.ended.unlink(missing_ok=True)
    words = invitations.words_of(
        verifier, site=name, key=request.key, authority=certificates.der(authority.encode())
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
        door = Door(pending.member.address)
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
    from fedtui import certificates, keys

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
    fingerprint = certificates.fingerprint(authority.encode())
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
    from fedtui import certificates, keys

    own = site.load(home)
    terms = study.load(agreed)
    if not terms.interop or own.name not in terms.sites:
        raise TrustError(
            f"Study {terms.id} is not marked interop, or does not name {own.name}.",
            remedy="Only public or synthetic data may meet a stock Flower peer.",
        )
    _check_not_joined(home)
    certificate = authority.read_text(encoding="ascii")
    fingerprint = certificates.fingerprint(certificate.encode())
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
    from fedtui import certificates

    try:
        data = bytes.fromhex(secret)
    except ValueError as error:
        raise _no_invitation(path) from error
    pin = invitations.pin_of(certificates.der(authority.encode()), invitations.verifier_of(data))
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


def _no_invitation(path: Path) -> TrustError:
    return TrustError(
        f"{path.name} is not a fedtui invitation.",
        remedy="Ask the coordinator's operator for the file that 'fedtui invite' wrote.",
    )
