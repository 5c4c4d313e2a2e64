"""The coordinator's sites on disk: invited, claimed, enrolled, suspended, revoked, left.

One folder, a few files a site: ``NAME.pub`` is enrolled, ``.suspended``, ``.revoked`` and ``.left``
are not any more and hold the same public key; ``NAME.invitation`` is an invitation,
``NAME.statement`` what the federation's key signed about the site. Commands and the coordinator
change them under a lock.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fedtui import certificates, invitations, keys
from fedtui.errors import BusyError, DataError, TrustError, UsageError
from fedtui.invitations import Claim, Invitation
from fedtui.site import Home

Standing = Literal["enrolled", "suspended", "revoked", "left", "pending", "invited"]
_SUFFIX: dict[str, str] = {
    "enrolled": "pub",
    "suspended": "suspended",
    "revoked": "revoked",
    "left": "left",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One site as the coordinator knows it.

    Attributes:
        key: PEM; of a pending site, the one that waits for confirmation. Empty where invited.
        invitation: What is open or claimed beside that, if anything.
        words: The six words of a pending site.
        statement: What the federation's key says about it; empty where it says nothing.
    """

    site: str
    standing: Standing
    key: bytes
    invitation: Invitation | None = None
    words: tuple[str, ...] = ()
    statement: dict[str, Any] | None = None


def entries(home: Home) -> list[Entry]:
    """Every site, by name; one whose new key is pending is there twice."""
    with _locked(home):
        return sorted(_entries(home), key=lambda entry: entry.site)


def _entries(home: Home) -> list[Entry]:
    found: list[Entry] = []
    for standing, suffix in _SUFFIX.items():
        for path in sorted(home.roster.glob(f"*.{suffix}")):
            found.append(
                Entry(
                    site=path.stem,
                    standing=standing,  # type: ignore[arg-type]
                    key=path.read_bytes(),
                    statement=_statement(path) if standing != "enrolled" else None,
                )
            )
    for path in sorted(home.roster.glob("*.invitation")):
        invitation = _read(path)
        if invitation is not None and invitation.state in ("open", "spent", "claimed"):
            claimed = invitation.state == "claimed"
            words = words_of(home, invitation) if claimed else ()
            found.append(
                Entry(
                    site=invitation.site,
                    standing="pending" if claimed else "invited",
                    key=invitation.key.encode(),
                    invitation=invitation,
                    words=words,
                )
            )
    return found


def invite(home: Home, name: str, *, address: str, addresses: tuple[str, ...]) -> invitations.Code:
    """A new invitation for ``name``, in place of any earlier one of that name.

    Raises:
        BusyError: a site of that name has used the last one and waits for confirmation.
    """
    authority = authority_of(home)
    with _locked(home):
        path = home.roster / f"{name}.invitation"
        last = _read(path)
        if last is not None and last.state == "claimed":
            raise BusyError(
                f"{name} has used its invitation and waits for confirmation.",
                remedy=f"'fedtui sites --confirm {name}', or --decline {name} and invite it again.",
            )
        others = {i.handle for p in home.roster.glob("*.invitation") if (i := _read(p))}
        while True:
            secret = invitations.draw_secret()
            verifier = invitations.verifier_of(secret)
            handle = invitations.handle_of(verifier)
            if handle not in others:
                break
        made = Invitation(
            site=name,
            handle=handle,
            verifier=verifier.hex(),
            made=time.time(),
            addresses=addresses,
        )
        _write(path, made)
    pin = invitations.pin_of(authority, verifier)
    return invitations.Code(address=address, secret=secret, pin=pin)


def redeem(home: Home, claim: Claim, *, origin: str) -> tuple[Invitation | None, str]:
    """Let ``claim`` use its invitation, once; returns it, and why not, empty if it holds.

    Raises:
        TrustError: what it claims with is no public key of a site.
    """
    authority = authority_of(home)
    with _locked(home):
        for path in home.roster.glob("*.invitation"):
            invitation = _read(path)
            if invitation is None or invitation.handle != claim.handle:
                continue
            keys.load_public(claim.key.encode(), name="The site's key")
            after, refusal = invitations.judge(
                invitation, claim, authority=authority, now=time.time(), origin=origin
            )
            if after != invitation:
                _write(path, after)
            return after, refusal
    return None, "wrong"


def confirm(home: Home, name: str, words: str) -> bytes:
    """Enrol the pending site ``name``; returns its public key.

    Args:
        words: The six words as its operator told them; case and spaces do not matter.

    Raises:
        UsageError: no site of that name is pending.
        TrustError: the words are not those that the site's key gives.
    """
    with _locked(home):
        path, invitation = _pending(home, name)
        if words.lower().replace(",", " ").split() != list(words_of(home, invitation)):
            raise TrustError(
                f"These are not the words of the site that claimed {name}'s invitation.",
                remedy="Have them read once more. If they stay different, someone else used the "
                f"code: 'fedtui sites --decline {name}', then invite it anew.",
            )
        _place(home, name, "enrolled", invitation.key.encode())
        _write(path, replace(invitation, state="confirmed"))
    return invitation.key.encode()


def decline(home: Home, name: str) -> None:
    """Refuse the pending site ``name``, or take an unused invitation back.

    Raises:
        UsageError: nothing of that name is pending or invited.
    """
    with _locked(home):
        path = home.roster / f"{name}.invitation"
        invitation = _read(path)
        if invitation is None or invitation.state in ("confirmed", "declined"):
            raise UsageError(
                f"{name} is neither pending nor invited.", remedy="See 'fedtui sites'."
            )
        _write(path, replace(invitation, state="declined"))


def enrol(home: Home, name: str, key: bytes) -> None:
    """Put a public key that came by another way on the roster.

    Raises:
        UsageError: the name is on it with another key.
    """
    with _locked(home):
        path = home.roster / f"{name}.pub"
        if path.exists() and path.read_bytes() != key:
            raise UsageError(
                f"{name} is on the roster with another key.",
                remedy=f"If that site lost its key, invite it anew: 'fedtui invite {name}'.",
            )
        _place(home, name, "enrolled", key)


def move(home: Home, name: str, to: Literal["enrolled", "suspended", "revoked", "left"]) -> None:
    """Suspend, resume, revoke ``name`` or let it go; what takes it off is signed with the
    federation's key.

    Raises:
        UsageError: there is no such site, or it stands so already.
    """
    with _locked(home):
        standing, path = _standing(home, name)
        wanted = {"enrolled": ("suspended",), "suspended": ("enrolled",)}
        if standing not in wanted.get(to, ("enrolled", "suspended")):
            raise UsageError(
                f"{name} is {standing}." if standing else f"{name} is not on the roster.",
                remedy="See 'fedtui sites'.",
            )
        key = path.read_bytes()
        if to != "enrolled":
            public = keys.load_public(key, name=path.name)
            signed = keys.sign_statement(
                keys.load_private(home.keys / "ca.key"), what=to, site=name, public=public
            )
            _store(home.roster / f"{name}.statement", json.dumps(signed).encode())
        _place(home, name, to, key)


def replace_key(home: Home, name: str, key: bytes) -> None:
    """Give an enrolled site its new public key.

    Raises:
        UsageError: it is not enrolled.
    """
    with _locked(home):
        if _standing(home, name)[0] != "enrolled":
            raise UsageError(f"{name} is not enrolled.", remedy="See 'fedtui sites'.")
        _place(home, name, "enrolled", key)


def words_of(home: Home, invitation: Invitation) -> tuple[str, ...]:
    """The six words of the key that claimed ``invitation``."""
    return invitations.words_of(
        bytes.fromhex(invitation.verifier),
        site=invitation.site,
        key=invitation.key,
        authority=authority_of(home),
    )


def authority_of(home: Home) -> bytes:
    """The federation's certificate authority, DER."""
    return certificates.der((home.keys / "ca.pem").read_bytes())


def _place(home: Home, name: str, standing: str, key: bytes) -> None:
    """Write the one file that says how ``name`` stands, then remove what said otherwise."""
    kept = _SUFFIX[standing]
    _store(home.roster / f"{name}.{kept}", key)
    gone = [suffix for suffix in _SUFFIX.values() if suffix != kept]
    for suffix in [*gone, *(["statement"] if standing == "enrolled" else [])]:
        (home.roster / f"{name}.{suffix}").unlink(missing_ok=True)


def _standing(home: Home, name: str) -> tuple[str, Path]:
    for standing, suffix in reversed(_SUFFIX.items()):  # after a kill between two files: the safer
        path = home.roster / f"{name}.{suffix}"
        if path.exists():
            return standing, path
    return "", home.roster / f"{name}.pub"


def _pending(home: Home, name: str) -> tuple[Path, Invitation]:
    path = home.roster / f"{name}.invitation"
    invitation = _read(path)
    if invitation is None or invitation.state != "claimed":
        raise UsageError(
            f"No site claims to be {name} now.",
            remedy="Its operator runs 'fedtui join CODE' first; see 'fedtui sites'.",
        )
    return path, invitation


def _read(path: Path) -> Invitation | None:
    try:
        fields = json.loads(path.read_bytes())
        return Invitation(**{**fields, "addresses": tuple(fields["addresses"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} is damaged.", remedy="Remove it, and invite that site again."
        ) from error


def _statement(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.with_suffix(".statement").read_bytes())
    except (FileNotFoundError, ValueError):  # taken off by an older fedtui
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, invitation: Invitation) -> None:
    _store(path, json.dumps(asdict(invitation), indent=1).encode())


def _store(path: Path, data: bytes) -> None:
    keys.write_atomically(path, data)


@contextlib.contextmanager
def _locked(home: Home) -> Iterator[None]:
    home.roster.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(home.roster / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
