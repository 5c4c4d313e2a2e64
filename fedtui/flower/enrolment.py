"""How a site comes onto the coordinator's roster, changes its key, and goes: routes and state.

Before it is enrolled, a site is answered four things: hello (clock and version), the authority's
certificate, and its invitation; all of them rate-limited. The roster is on disk; what is in memory
here follows it.
"""

import contextlib
import json
import math
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedtui import __version__, events, invitations, keys, roster
from fedtui.errors import OperatorError, UsageError
from fedtui.flower.fleet import Fleet
from fedtui.flower.gate import Gate, Held
from fedtui.flower.throttle import Throttle
from fedtui.invitations import Claim
from fedtui.journal import Journal
from fedtui.keys import PublicKey
from fedtui.site import Home

_LONGEST_CLAIM = 4096  # bytes; ours have 700
_REFUSAL_SECONDS = 60.0  # the same refusal is journaled once in this time

Endpoint = Callable[[Request], Awaitable[Response]]


class Enrolment:
    """The roster of one coordinator process, as gate and fleet have it."""

    def __init__(
        self, home: Home, journal: Journal, fleet: Fleet, gate: Gate, *, name: str
    ) -> None:
        self._home, self._journal, self._name = home, journal, name
        self._fleet, self._gate = fleet, gate
        self._nodes: dict[str, bytes] = {}  # enrolled site: public key, PEM
        self._authority = (home.keys / "ca.pem").read_bytes()
        self._looks = Throttle(rate=10.0, burst=60.0)
        self._claims = Throttle(rate=1.0, burst=10.0)
        self._refused: dict[str, float] = {}
        self._seen = 0  # when the roster's folder was last changed, ns
        self._lock = threading.Lock()

    def watch(self) -> None:
        """Follow the roster where nobody gave the order to; call about once a second."""
        if self._home.roster.stat().st_mtime_ns != self._seen:
            with contextlib.suppress(OperatorError):  # a damaged file, which 'fedtui sites' names
                self.load()

    def load(self) -> dict[str, Any]:
        """Follow the roster on disk; returns who is enrolled."""
        with self._lock:
            self._seen = self._home.roster.stat().st_mtime_ns
            self._load()
            return {"sites": self._fleet.sites}

    def _load(self) -> None:
        enrolled: dict[str, tuple[bytes, PublicKey]] = {}
        held: dict[str, tuple[Held, ...]] = {}
        for entry in sorted(roster.entries(self._home), key=_gravity):
            if entry.standing == "invited":
                continue
            public = keys.load_public(entry.key, name=f"The roster's key of {entry.site}")
            if entry.standing == "enrolled":
                enrolled[entry.site] = (keys.public_bytes(public), public)
                continue
            if entry.standing != "pending":
                enrolled.pop(entry.site, None)
            others = held.get(entry.site, ())
            held[entry.site] = (*others, Held(public, entry.standing, entry.statement))
        self._gate.learn({site: public for site, (_, public) in enrolled.items()}, held)
        for site in set(self._nodes) - set(enrolled):
            self._fleet.revoke(site)
            del self._nodes[site]
        for site, (pem, _) in enrolled.items():
            if site not in self._nodes:
                self._fleet.enrol(site, pem)
            elif self._nodes[site] != pem:
                self._fleet.rekey(site, pem)
            self._nodes[site] = pem

    def routes(self) -> list[Route]:
        """What a stranger may ask besides hello."""
        return [
            Route("/fedtui/authority", self.limited(self.authority), methods=["GET"]),
            Route("/fedtui/enrol", self.limited(self.enrol, self._claims), methods=["POST"]),
        ]

    def limited(self, endpoint: Endpoint, throttle: Throttle | None = None) -> Endpoint:
        """``endpoint``, answered with 429 and Retry-After where an address asks too much."""
        chosen = throttle or self._looks

        async def answer(request: Request) -> Response:
            if wait := chosen.admit(_origin(request)):
                after = {"retry-after": str(math.ceil(wait))}
                return JSONResponse({"error": "busy"}, status_code=429, headers=after)
            return await endpoint(request)

        return answer

    async def authority(self, _: Request) -> Response:
        """The federation's certificate; who asks compares it with his invitation's pin."""
        return Response(self._authority, media_type="application/x-pem-file")

    async def enrol(self, request: Request) -> Response:
        """A holder of an invitation names its key, and asks again until it is confirmed."""
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            if len(body) > _LONGEST_CLAIM:
                raise ValueError("too long")
            claim = _claim(json.loads(body))
        except (ValueError, TypeError, RecursionError):
            return JSONResponse({"error": "malformed"}, status_code=400)
        return await run_in_threadpool(self._redeem, claim, _origin(request))

    def _redeem(self, claim: Claim, origin: str) -> Response:
        try:
            invitation, refusal = roster.redeem(self._home, claim, origin=origin)
        except OperatorError:  # no key, or a damaged file, which 'fedtui sites' names
            return JSONResponse({"error": "malformed"}, status_code=400)
        if invitation is None or refusal:
            self._journal_refusal(refusal, invitation.site if invitation else "a stranger")
            return JSONResponse({"error": refusal}, status_code=403)
        public = keys.load_public(claim.key.encode(), name="The site's key")
        if invitation.state == "claimed" and not self._gate.holds(invitation.site, public):
            self._journal.append(
                events.SiteClaimed(
                    site=invitation.site,
                    key=keys.fingerprint(public),
                    words=" ".join(roster.words_of(self._home, invitation)),
                    origin=origin,
                )
            )
            self.load()
        return JSONResponse(
            {
                "state": "enrolled" if invitation.state == "confirmed" else "pending",
                "site": invitation.site,
                "coordinator": self._name,
                "addresses": list(invitation.addresses),
                "version": __version__,
                "proof": invitations.prove(
                    bytes.fromhex(invitation.verifier),
                    claim,
                    authority=roster.authority_of(self._home),
                    answer=invitation.site,
                ),
            }
        )

    async def rotate(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        """Give ``site``, which signed with its old key, the new key that signed as well."""
        return await run_in_threadpool(self._rotate, site, body)

    def _rotate(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        old = self._gate.key(site)
        try:
            new = keys.load_public(str(body["key"]).encode(), name="The new key")
            pem = keys.public_bytes(new)
            if pem == self._nodes.get(site):
                return {}  # asked again: the answer was lost
            if not keys.succession_is_signed(new, str(body["proof"]), site=site, old=old):
                raise ValueError("not signed by the new key")
            roster.replace_key(self._home, site, pem)
        except OperatorError as error:
            raise ValueError(str(error)) from error
        self._journal.append(
            events.KeyRotated(site=site, key=keys.fingerprint(new), old=keys.fingerprint(old))
        )
        self.load()
        return {}

    def leave(self, site: str) -> dict[str, Any]:
        """Take ``site`` off the roster at its own word; a run goes on as its quorum allows.

        Raises:
            ValueError: it is the coordinator's own.
        """
        if site == self._name:
            raise ValueError("the coordinator's own site")
        try:
            roster.move(self._home, site, "left")
        except UsageError as error:
            raise ValueError(str(error)) from error
        self._journal.append(events.SiteLeft(site=site))
        self.load()
        return {}

    def _journal_refusal(self, code: str, site: str) -> None:
        now = time.monotonic()
        if now - self._refused.get(f"{code} {site}", float("-inf")) >= _REFUSAL_SECONDS:
            self._refused[f"{code} {site}"] = now
            self._journal.append(events.RequestRefused(site=site, code=f"invitation-{code}"))


def iso(moment: float) -> str:
    """Seconds since 1970 as an operator reads them, UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _gravity(entry: roster.Entry) -> int:
    return ("invited", "enrolled", "pending", "suspended", "revoked", "left").index(entry.standing)


def _origin(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _claim(document: Any) -> Claim:
    names = ("handle", "site", "key", "nonce", "proof")
    if not isinstance(document, dict) or not all(isinstance(document.get(n), str) for n in names):
        raise ValueError("not a claim")
    fields = {name: document[name] for name in names}
    for text in fields.values():
        text.encode("ascii")  # raises ValueError
    return Claim(**fields)
