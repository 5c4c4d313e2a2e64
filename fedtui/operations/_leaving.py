"""A site ends its own membership: it tells the coordinator, under its key, and stops."""

import json
import ssl
import time
from dataclasses import dataclass
from typing import Any

from fedtui import events, processes, site
from fedtui.errors import BusyError, NetworkError, OperatorError, TrustError, UsageError
from fedtui.journal import Journal
from fedtui.operations._records import known
from fedtui.site import Home, Membership, Site

_PATH = "/fedtui/leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """A membership that ended here.

    Attributes:
        untold: Why the coordinator does not know of it; None where it does.
    """

    site: str
    address: str
    untold: OperatorError | None


def leave(home: Home, *, now: bool = False) -> Departure:
    """End this site's membership; its journal, ledgers and keys stay.

    The processes end in any case. Where the coordinator was not told, a second call tells it.

    Args:
        now: Whether to leave in the middle of a run, which goes on as its quorum allows.

    Raises:
        UsageError: this home coordinates its federation, or has joined none.
        TrustError: the coordinator ended the membership.
        BusyError: a run that this site takes part in is under way.
    """
    own, member = leaving(home)
    if not site.left(home):
        run = known(home).run
        if not now and run is not None and not run.over and own.name in run.sites:
            raise BusyError(
                f"{own.name} takes part in run {run.run}, which is not over.",
                remedy="Wait for its end, or leave with --now: it goes on as its quorum allows.",
            )
        from fedtui import keys

        said = {"what": "left", "site": own.name, "time": round(time.time(), 3)}
        keys.write_atomically(home.ended, json.dumps(said).encode())  # nothing starts again
    processes.stop(home)
    untold = _tell(home, own, member)
    book = Journal(home.journal, source="operator")
    book.append(events.SiteLeft(site=own.name, untold=str(untold).rstrip(".") if untold else ""))
    book.close()
    return Departure(site=own.name, address=member.address, untold=untold)


def leaving(home: Home) -> tuple[Site, Membership]:
    """Which site would leave which federation.

    Raises:
        UsageError: this home coordinates its federation, or has joined none.
        TrustError: the coordinator ended the membership.
    """
    own = site.load(home)
    if own.coordinates:
        raise UsageError(
            f"{own.name} coordinates this federation.",
            remedy="Its sites leave, or are revoked with 'fedtui sites --revoke SITE'; 'fedtui "
            "down' stops it.",
        )
    member = site.load_membership(home)
    if home.ended.exists() and not site.left(home):
        raise site.ended_error(home)
    return own, member


def _tell(home: Home, own: Site, member: Membership) -> OperatorError | None:
    remedy = (
        "Repeat 'fedtui leave' when the link is back, or have the coordinator's operator run "
        f"'fedtui sites --revoke {own.name}'."
    )
    if member.kind == "flower":
        return NetworkError(
            "A stock Flower SuperLink hears nothing of this.",
            remedy="Have its operator unregister this node's key.",
        )
    from fedtui import keys

    key, body = keys.load_private(home.keys / "node.key"), b"{}"
    headers = keys.request_headers(key, site=own.name, path=_PATH, body=body)
    try:
        status, answer = _post(member, body, headers)
    except NetworkError as error:
        return NetworkError(str(error), remedy=remedy)
    if status == 200 and "epoch" in answer:
        return None
    code = str(answer.get("error", f"status {status}"))
    if code in ("left", "revoked") and keys.statement_holds(
        answer.get("statement"),
        authority=member.authority.encode(),
        site=own.name,
        public=key.public_key(),
    ):
        return None  # it knew already: its last answer was lost
    if status == 403:
        return TrustError(f"The coordinator refused to hear it ({code}).", remedy=remedy)
    return NetworkError(f"The coordinator did not take it ({code}).", remedy=remedy)


def _post(member: Membership, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    import httpx

    from fedtui import transport

    client = transport.client(member.address, transport.pinned(member.authority), transport.TIMEOUT)
    try:
        response = client.post(_PATH, content=body, headers=headers)
        answer = response.json()
        if not isinstance(answer, dict):
            raise ValueError("not a coordinator's answer")
        return response.status_code, answer
    except (httpx.HTTPError, ValueError, ssl.SSLError) as error:
        raise NetworkError(
            f"The coordinator was not reached: {transport.classify(error, member.address)}.",
            remedy="",
        ) from error
    finally:
        client.close()
