"""A site's home: made, with its settings, keys and journal."""

import json
from collections.abc import Mapping

from fedtui import events, journal, mounts, settings, site
from fedtui.errors import UsageError
from fedtui.journal import Journal
from fedtui.site import Home, Membership, Site


def create(
    home: Home,
    name: str,
    *,
    coordinator: bool = False,
    data: bool = True,
    host: str = "0.0.0.0",
    port: int = 8443,
    names: tuple[str, ...] = (),
    sources: Mapping[str, Mapping[str, str | bool]] | None = None,
) -> Site:
    """Make a home: settings, keys, journal; a coordinator also its authority and certificate.

    Args:
        data: Whether it takes part with data of its own; False makes a coordinator only.
        names: Host names and addresses under which sites will dial the coordinator.
        sources: Path and part of data sets, and whether they are public, by name, for
            ``site.toml``.

    Raises:
        UsageError: a name that does not fit, a home that exists, a path that is too long.
        ResourceError: the file system is unsound.
    """
    from fedtui import (  # cryptography: 60 ms that most commands do not need
        certificates,
        keys,
        roster,
    )

    if home.settings.exists() or home.journal.exists():
        raise UsageError(
            f"{home.path} is already a fedtui home.", remedy="Use it, or choose another --home."
        )
    site.check_name(name)
    site.check_socket_path(home)
    roles = (("site",) if data else ()) + (("coordinator",) if coordinator else ())
    text = _site_toml(name, roles, host, port, names, sources or {})
    made = settings.parse(text, Site, name="site.toml")
    home.path.mkdir(parents=True, mode=0o700, exist_ok=True)
    mounts.refuse_unsound(home.path)
    home.path.chmod(0o700)
    for folder in (home.keys, home.state, home.work, home.runs, home.roster):
        folder.mkdir(mode=0o700, exist_ok=True)
    public = keys.node_key(home.keys)
    if coordinator:
        certificates.create_authority(home.keys, name=name)
        certificates.create_server(home.keys, names=certificates.server_names(names))
        authority = (home.keys / "ca.pem").read_text(encoding="ascii")
        address = dialled_at(names[0] if names else certificates.LOOPBACK[1], port)
        if data:
            roster.enrol(home, name, keys.public_bytes(public))
            write_membership(home, Membership(address=address, authority=authority))
    keys.write_atomically(home.format, f"{site.FORMAT}\n".encode())
    keys.write_atomically(home.settings, text.encode())
    journal.create(home.journal)
    book = Journal(home.journal, source="operator")
    book.append(events.SiteCreated(site=name, roles=roles, key=keys.fingerprint(public)))
    book.close()
    return made


def coordinating(home: Home) -> Site:
    """The site of ``home``, or UsageError if it coordinates nothing."""
    own = site.load(home)
    if not own.coordinates:
        raise UsageError(
            f"{own.name} is not the coordinator of its federation.",
            remedy="Give this order at the coordinator's home (--home DIR).",
        )
    return own


def dialled_at(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def write_membership(home: Home, member: Membership) -> None:
    """Keep which federation this home belongs to; a membership that had ended is over with it."""
    from fedtui import keys

    text = (
        f"address = {json.dumps(member.address)}\naddresses = {json.dumps(member.addresses)}\n"
        f'kind = "{member.kind}"\n'
        f'authority = """\n{member.authority}"""\n'
    )
    keys.write_atomically(home.membership, text.encode())
    home.ended.unlink(missing_ok=True)


def _site_toml(
    name: str,
    roles: tuple[str, ...],
    host: str,
    port: int,
    names: tuple[str, ...],
    sources: Mapping[str, Mapping[str, str | bool]],
) -> str:
    """What ``init`` writes and an operator edits: json.dumps quotes strings as TOML does."""
    lines = [
        "# What this site decides alone. Others hear of its name, and of a coordinator where to",
        "# dial it; nothing else in this file is sent to anybody.",
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
            '# excluded = "optout.txt"   # beside this file: who opted out, one id a line',
            "",
        ]
    return "\n".join(lines)
