"""Whom the checks dial: from an address, an invitation, or the federation a home has joined."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from fedtui import site
from fedtui.errors import TrustError, UsageError
from fedtui.site import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A coordinator to look for.

    Attributes:
        authority: PEM of the federation's certificate authority; empty before an invitation.
        addresses: IP addresses that the coordinator published, if it did.
    """

    host: str
    port: int
    authority: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """HOST:PORT, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def from_address(address: str, *, authority: str = "") -> Target:
    """The coordinator at HOST:PORT, nothing else known.

    Raises:
        UsageError: it is not HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    plausible = host and "/" not in host and (bracketed or ":" not in host)
    if not plausible or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"'{address}' is not HOST:PORT.",
            remedy="Write it like fedtui.example.org:8443, [2001:db8::1]:8443 or 192.0.2.1:8443.",
        )
    return Target(host=host, port=int(port), authority=authority)


def from_invitation(path: Path) -> Target:
    """The coordinator that an invitation names, with its authority.

    Raises:
        UsageError: the file cannot be read, or its address is not HOST:PORT.
        TrustError: it is not an invitation.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from error
    except ValueError as error:
        raise _no_invitation(path) from error
    if not isinstance(document, dict) or document.get("fedtui-invitation") not in (1, 2):
        raise _no_invitation(path)
    target = from_address(str(document.get("address")), authority=str(document.get("authority")))
    published = document.get("addresses")
    if not isinstance(published, list):
        return target
    return Target(
        host=target.host,
        port=target.port,
        authority=target.authority,
        addresses=tuple(map(str, published)),
    )


def from_home(home: Home) -> Target:
    """The coordinator of the federation that the site of ``home`` joined.

    Raises:
        UsageError: it joined none, or its federation.toml does not hold.
    """
    member = site.load_membership(home)
    target = from_address(_bracketed(member.address), authority=member.authority)
    return replace(target, addresses=member.addresses)


def _bracketed(address: str) -> str:
    """A bare IPv6 address before the port gets its brackets."""
    host, _, port = address.rpartition(":")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else address


def _no_invitation(path: Path) -> TrustError:
    return TrustError(
        f"{path.name} is not a fedtui invitation.",
        remedy="Ask the coordinator's operator for the file that 'fedtui invite' wrote.",
    )
