"""Whether this host has a route to the coordinator's addresses; no packet is sent."""

import errno
import socket
from collections.abc import Iterator

from fedtui.checks import Finding, State, _proxies
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("dns",)
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = False


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Ask the kernel which way it would send."""
    target = inquiry.dialled
    if proxy := _proxies.chosen(target.host, target.port, _proxies.variables()):
        yield Finding(
            state=State.SKIP,
            code="route-by-proxy",
            meaning=f"Not needed: {proxy.shown} carries the link.",
        )
        return
    ways, missing = [], []
    for address in inquiry.addresses:
        way = _way(address, target.port)
        if isinstance(way, str):
            ways.append(f"{way} to {address}")
        else:
            missing.append(f"{address}: {way.strerror}")
    if ways:
        yield Finding(
            state=State.OK,
            code="route-ok",
            measured=ways[0],
            meaning="This host has a route to the coordinator.",
        )
        return
    only_six = all(":" in address for address in inquiry.addresses)
    family = "IPv6 " if only_six else ""
    yield Finding(
        state=State.FAIL,
        code="route-no-ipv6" if only_six else "route-missing",
        measured="; ".join(missing),
        meaning=f"This host has no {family}route to {target.host}: no default gateway, "
        "a cable or VPN that is down, or a network of its own.",
        remedy="Check 'ip route' and the VPN; then ask the network team for a route.",
        ticket=ticket(inquiry, f"a {family}route from this host to {target.host}", *missing),
    )


def _way(address: str, port: int) -> str | OSError:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, port))  # UDP: only a look into the routing table
            return str(sock.getsockname()[0])
    except OSError as error:
        known = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
        if error.errno in (*known, errno.EACCES, errno.EPERM, errno.EINVAL):
            return error
        raise
