"""The coordinator's sites: invited, confirmed, suspended, revoked, listed."""

import ipaddress
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui import events, orders, processes, site
from fedtui.errors import UsageError
from fedtui.journal import Journal
from fedtui.operations._homes import coordinating, dialled_at
from fedtui.site import Home, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An invitation, in both of its forms.

    Attributes:
        code: At most 60 characters; empty where no name of the coordinator is short enough.
        file: The same for a place where nothing can be pasted, JSON; secret as well.
        until: When it stops being good, seconds since 1970.
        replaces: Whether a site of this name is enrolled, whose key gives way on confirmation.
    """

    site: str
    code: str
    file: str
    until: float
    replaces: bool


def issue(home: Home, name: str, *, address: str = "", by_file: bool = False) -> Issued:
    """Invite ``name`` by a secret, once, for 72 hours; any earlier invitation of it is void.

    Args:
        address: HOST[:PORT] that this site dials; else the first of the coordinator's names that
            fits into a code.
        by_file: Whether it is handed over as a file, so that no code has to fit.

    Raises:
        UsageError: this home coordinates nothing, or the name or the address does not do.
        BusyError: that site waits for confirmation.
    """
    from fedtui import invitations, roster

    own = coordinating(home)
    _check_name(name, own)
    dialled = _dialled(own, address)
    if not by_file and not invitations.fits(dialled):
        raise UsageError(
            f"{dialled} is too long for a code of 60 characters.",
            remedy="Write a file with --to FILE, or name an IP address with --address IP:PORT.",
        )
    code = roster.invite(home, name, address=dialled, addresses=tuple(_published(dialled)))
    until = time.time() + invitations.LIFE_SECONDS
    document = {
        "fedtui-invitation": 2,
        "site": name,
        "address": dialled,
        "addresses": _published(dialled),
        "authority": (home.keys / "ca.pem").read_text(encoding="ascii"),
        "secret": code.secret.hex(),
        "until": _iso(until),
    }
    _journal(home, events.InvitationMade(site=name, until=_iso(until)))
    return Issued(
        site=name,
        code=str(code) if invitations.fits(dialled) else "",
        file=json.dumps(document, indent=2),
        until=until,
        replaces=(home.roster / f"{name}.pub").exists(),
    )


def invite(home: Home, name: str, *, public_key: Path, address: str = "") -> str:
    """Put a site's public key on the roster; returns the invitation to hand to that site.

    The invitation holds no secret: the coordinator's address, its authority's certificate, and
    the site's name and key. It works for the holder of that key only.

    Raises:
        UsageError: this home coordinates nothing, or the name is taken by another key.
        TrustError: the file is not a site's public key.
    """
    from fedtui import keys, roster

    own = coordinating(home)
    _check_name(name, own)
    try:
        data = public_key.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{public_key} cannot be read: {error.strerror}.",
            remedy="Give the site's file keys/node.pub with --key.",
        ) from error
    key = keys.load_public(data, name=public_key.name)
    roster.enrol(home, name, keys.public_bytes(key))
    _journal(home, events.SiteInvited(site=name, key=keys.fingerprint(key)))
    _tell(home)
    dialled = _dialled(own, address)
    return json.dumps(
        {
            "fedtui-invitation": 1,
            "site": name,
            "key": keys.fingerprint(key),
            "address": dialled,
            "addresses": _published(dialled),
            "authority": (home.keys / "ca.pem").read_text(encoding="ascii"),
        },
        indent=2,
    )


def sites(home: Home) -> list[dict[str, Any]]:
    """Every site that the coordinator knows: site, state, key, and what each state has besides.

    States: enrolled, pending (words, origin), invited (until, tries_left), expired, void,
    suspended, revoked, left.

    Raises:
        UsageError: this home coordinates nothing.
    """
    from fedtui import invitations, keys, roster

    coordinating(home)
    found: list[dict[str, Any]] = []
    for entry in roster.entries(home):
        told: dict[str, Any] = {"site": entry.site, "state": entry.standing, "key": ""}
        if entry.key:
            told["key"] = keys.fingerprint(keys.load_public(entry.key, name=entry.site))
        if entry.standing == "pending" and entry.invitation:
            told |= {"words": " ".join(entry.words), "origin": entry.invitation.origin}
        elif entry.invitation:
            left = invitations.TRIES - entry.invitation.failures
            told |= {"until": _iso(entry.invitation.expires), "tries_left": left}
            if entry.invitation.state == "spent":
                told["state"] = "void"
            elif time.time() >= entry.invitation.expires:
                told["state"] = "expired"
        found.append(told)
    return found


def confirm(home: Home, name: str, words: str) -> None:
    """Enrol the pending site ``name``, whose operator told these six words by another way.

    Raises:
        UsageError: this home coordinates nothing, or nobody claims that name.
        TrustError: the words are others.
    """
    from fedtui import keys, roster

    coordinating(home)
    data = roster.confirm(home, name, words)
    key = keys.fingerprint(keys.load_public(data, name=name))
    _journal(home, events.SiteInvited(site=name, key=key))
    _tell(home)


def decline(home: Home, name: str) -> None:
    """Refuse a pending site, or take an unused invitation back.

    Raises:
        UsageError: this home coordinates nothing, or ``name`` is neither.
    """
    from fedtui import roster

    coordinating(home)
    roster.decline(home, name)
    _journal(home, events.SiteDeclined(site=name))
    _tell(home)


def suspend(home: Home, name: str, *, suspended: bool = True) -> None:
    """Refuse a site for the time being, or take it back; a run goes on as its quorum allows.

    Raises:
        UsageError: this home coordinates nothing, or the site does not stand so.
    """
    from fedtui import roster

    own = coordinating(home)
    _check_other(name, own)
    roster.move(home, name, "suspended" if suspended else "enrolled")
    _journal(home, events.SiteSuspended(site=name, suspended=suspended))
    _tell(home)


def revoke(home: Home, name: str) -> None:
    """Take a site off the roster: it is told so under the federation's key, and ends.

    A run under way goes on without it as its quorum allows.

    Raises:
        UsageError: this home coordinates nothing, or there is no such site.
    """
    from fedtui import roster

    own = coordinating(home)
    _check_other(name, own)
    roster.move(home, name, "revoked")
    _journal(home, events.SiteRevoked(site=name))
    _tell(home)


def _check_name(name: str, own: Site) -> None:
    site.check_name(name)
    if name == own.name and own.trains:
        raise UsageError(f"{name} is this very site.", remedy="Name another one.")


def _check_other(name: str, own: Site) -> None:
    if name == own.name and own.trains:
        raise UsageError(
            f"{name} is the coordinator's own site.",
            remedy="To leave it out of a study, leave it out of the study's sites.",
        )


def _dialled(own: Site, address: str) -> str:
    from fedtui import certificates, invitations

    if address:
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and (":" not in host or host.endswith("]")):
            return address
        return dialled_at(address, own.coordinator.port)
    names = own.coordinator.names or certificates.LOOPBACK[1:]
    all_ = [dialled_at(name, own.coordinator.port) for name in names]
    return next(filter(invitations.fits, all_), all_[0])


def _published(address: str) -> list[str]:
    """What the coordinator's name means here, so that sites notice where it means another host.

    Loopback says nothing: hosts often map their own name to it.
    """
    host = address.rpartition(":")[0].strip("[]")
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return []
    return sorted(ip for ip in found if not ipaddress.ip_address(ip.split("%")[0]).is_loopback)


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))


def _journal(home: Home, event: events.Event) -> None:
    book = Journal(home.journal, source="operator")
    book.append(event)
    book.close()


def _tell(home: Home) -> None:
    """Have a running coordinator follow the roster at once."""
    if processes.running(home, "coordinator"):
        orders.order(home, "coordinator", "enrol")
