"""A site's home: made, put on a roster, joined to a federation."""

import ipaddress
import json
import os
import socket
from pathlib import Path

from fedtui import events, journal, orders, processes, settings, site, study
from fedtui.errors import BusyError, TrustError, UsageError
from fedtui.journal import Journal
from fedtui.site import Home, Membership, Site

LOOPBACK = ("localhost", "127.0.0.1")


def create(
    home: Home,
    name: str,
    *,
    coordinator: bool = False,
    data: bool = True,
    host: str = "0.0.0.0",
    port: int = 8443,
    names: tuple[str, ...] = (),
    sources: dict[str, dict[str, str]] | None = None,
) -> Site:
    """Make a home: settings, keys, journal; a coordinator also its authority and certificate.

    Args:
        data: Whether it takes part with data of its own; False makes a coordinator only.
        names: Host names and addresses under which sites will dial the coordinator.
        sources: Path and part of data sets, by name, for ``site.toml``.

    Raises:
        UsageError: a name that does not fit, a home that exists, a path that is too long.
        ResourceError: the file system is unsound.
    """
    from fedtui import keys  # cryptography: 60 ms that most commands do not need

    if home.settings.exists() or home.journal.exists():
        raise UsageError(
            f"{home.path} is already a fedtui home.", remedy="Use it, or choose another --home."
        )
    site.check_socket_path(home)
    roles = (("site",) if data else ()) + (("coordinator",) if coordinator else ())
    text = _site_toml(name, roles, host, port, names, sources or {})
    made = settings.parse(text, Site, name="site.toml")
    home.path.mkdir(parents=True, mode=0o700, exist_ok=True)
    journal.refuse_unsound_file_system(home.path)
    home.path.chmod(0o700)
    for folder in (home.keys, home.state, home.work, home.runs, home.roster):
        folder.mkdir(mode=0o700, exist_ok=True)
    public = keys.create_node_key(home.keys)
    if coordinator:
        keys.create_authority(home.keys, name=name)
        dialled = tuple(dict.fromkeys((*names, socket.gethostname(), *LOOPBACK)))
        keys.create_server_certificate(home.keys, names=dialled)
        authority = (home.keys / "ca.pem").read_text(encoding="ascii")
        address = dialled_at(names[0] if names else LOOPBACK[1], port)
        if data:
            _enrol(home, name, keys.public_bytes(public))
            _write(
                home.membership, _membership_toml(Membership(address=address, authority=authority))
            )
    _write(home.settings, text)
    journal.create(home.journal)
    book = Journal(home.journal, source="operator")
    book.append(events.SiteCreated(site=name, roles=roles, key=keys.fingerprint(public)))
    book.close()
    return made


def invite(home: Home, name: str, *, public_key: Path, address: str = "") -> str:
    """Put a site's public key on the roster; returns the invitation to hand to that site.

    The invitation holds no secret: the coordinator's address, its authority's certificate, and
    the site's name and key. It works for the holder of that key only.

    Raises:
        UsageError: this home coordinates nothing, or the name is taken by another key.
        TrustError: the file is not a site's public key.
    """
    from fedtui import keys

    own = coordinating(home)
    if not site.NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no site name.", remedy="Use 2 to 24 of a-z, 0-9 and -, a letter first."
        )
    try:
        data = public_key.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{public_key} cannot be read: {error.strerror}.",
            remedy="Give the site's file keys/node.pub with --key.",
        ) from error
    key = keys.load_public(data, name=public_key.name)
    _enrol(home, name, keys.public_bytes(key))
    book = Journal(home.journal, source="operator")
    book.append(events.SiteInvited(site=name, key=keys.fingerprint(key)))
    book.close()
    if processes.running(home, "coordinator"):
        orders.order(home, "coordinator", "enrol")
    first = (own.coordinator.names or LOOPBACK[1:])[0]
    dialled = address or dialled_at(first, own.coordinator.port)
    authority = (home.keys / "ca.pem").read_text(encoding="ascii")
    return json.dumps(
        {
            "fedtui-invitation": 1,
            "site": name,
            "key": keys.fingerprint(key),
            "address": dialled,
            "addresses": _published(dialled),
            "authority": authority,
        },
        indent=2,
    )


def join(home: Home, invitation: Path) -> Membership:
    """Pin the coordinator of an invitation; nothing is sent.

    Raises:
        TrustError: it is for another site or key, or not an invitation.
        UsageError: the file cannot be read.
        BusyError: the site has joined a federation already.
    """
    from fedtui import keys

    own = site.load(home)
    try:
        document = json.loads(invitation.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{invitation} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from error
    except ValueError as error:
        raise _no_invitation(invitation) from error
    if not isinstance(document, dict) or document.get("fedtui-invitation") != 1:
        raise _no_invitation(invitation)
    fields = [document.get(name) for name in ("site", "key", "address", "authority")]
    if not all(isinstance(value, str) for value in fields):
        raise _no_invitation(invitation)
    name, key, address, authority = map(str, fields)
    published = document.get("addresses", [])
    if not isinstance(published, list) or not all(map(_is_address, published)):
        raise _no_invitation(invitation)
    mine = keys.fingerprint(keys.load_private(home.keys / "node.key").public_key())
    if (name, key) != (own.name, mine):
        raise TrustError(
            f"This invitation is for {name} with key {key[:14]}…, not for this site.",
            remedy=f"Ask for one for {own.name} with key {mine}.",
        )
    if home.membership.exists():
        raise BusyError(
            "This site has already joined a federation.",
            remedy=f"Remove {home.membership} first if it is to join another.",
        )
    fingerprint = keys.authority_fingerprint(authority.encode())
    member = Membership(address=address, authority=authority, addresses=tuple(map(str, published)))
    _check_address(member)
    _write(home.membership, _membership_toml(member))
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
    if home.membership.exists():
        raise BusyError(
            "This site has already joined a federation.",
            remedy=f"Remove {home.membership} first if it is to join another.",
        )
    certificate = authority.read_text(encoding="ascii")
    fingerprint = keys.authority_fingerprint(certificate.encode())
    member = Membership(address=address, authority=certificate, kind="flower")
    _check_address(member)
    _write(home.interop, agreed.read_text(encoding="utf-8"))
    _write(home.membership, _membership_toml(member))
    book = Journal(home.journal, source="operator")
    book.append(events.FederationJoined(address=address, authority=fingerprint))
    book.close()
    return member


def sites(home: Home) -> list[dict[str, str]]:
    """The coordinator's roster: name and key fingerprint of every site.

    Raises:
        UsageError: this home coordinates nothing.
    """
    from fedtui import keys

    coordinating(home)
    return [
        {
            "site": path.stem,
            "key": keys.fingerprint(keys.load_public(path.read_bytes(), name=path.name)),
        }
        for path in sorted(home.roster.glob("*.pub"))
    ]


def revoke(home: Home, name: str) -> None:
    """Take a site off the roster: from now on the coordinator refuses it, saying so.

    A run under way goes on without it as its quorum allows.

    Raises:
        UsageError: this home coordinates nothing, or there is no such site.
    """
    coordinating(home)
    path = home.roster / f"{name}.pub"
    if not path.exists():
        raise UsageError(f"{name} is not on the roster.", remedy="See 'fedtui sites'.")
    path.replace(path.with_suffix(".revoked"))
    book = Journal(home.journal, source="operator")
    book.append(events.SiteRevoked(site=name))
    book.close()
    if processes.running(home, "coordinator"):
        orders.order(home, "coordinator", "enrol")


def coordinating(home: Home) -> Site:
    """The site of ``home``, or UsageError if it coordinates nothing."""
    own = site.load(home)
    if not own.coordinates:
        raise UsageError(
            f"{own.name} is not the coordinator of its federation.",
            remedy="Give this order at the coordinator's home (--home DIR).",
        )
    return own


def _enrol(home: Home, name: str, public: bytes) -> None:
    path = home.roster / f"{name}.pub"
    if path.exists() and path.read_bytes() != public:
        raise UsageError(
            f"{name} is on the roster with another key.",
            remedy=f"If that site lost its key, remove {path} and invite it again.",
        )
    path.with_suffix(".revoked").unlink(missing_ok=True)
    path.write_bytes(public)


def dialled_at(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def _membership_toml(member: Membership) -> str:
    return (
        f"address = {json.dumps(member.address)}\naddresses = {json.dumps(member.addresses)}\n"
        f'kind = "{member.kind}"\n'
        f'authority = """\n{member.authority}"""\n'
    )


def _site_toml(
    name: str,
    roles: tuple[str, ...],
    host: str,
    port: int,
    names: tuple[str, ...],
    sources: dict[str, dict[str, str]],
) -> str:
    """What ``init`` writes and an operator edits: json.dumps quotes strings as TOML does."""
    lines = [
        "# What this site decides alone. Nothing here is sent to anybody.",
        f"name = {json.dumps(name)}",
        f"roles = {json.dumps(roles)}",
        "",
    ]
    if "coordinator" in roles:
        lines += [
            "[coordinator]",
            f"host = {json.dumps(host)}",
            f"port = {port}",
            f"names = {json.dumps(names)}  # how sites dial us; the first goes on invitations",
            "",
        ]
    lines += ["[limits]", "minimum_cell = 10  # patients; may be raised, never lowered", ""]
    for key, source in sources.items():
        lines.append(f"[data.{key}]")
        lines += [f"{field} = {json.dumps(value)}" for field, value in source.items()]
        lines.append("")
    if not sources and "site" in roles:
        lines += ["# Data sets that this site offers to studies, for example:"]
        lines += [
            "# [data.heart_disease]",
            '# path = "/data/heart_disease"',
            '# part = "cleveland"',
            "",
        ]
    return "\n".join(lines)
