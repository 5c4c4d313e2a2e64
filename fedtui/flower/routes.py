"""The coordinator's own HTTP routes under ``/fedtui/``, and the guard in front of everything.

The guard knows two prefixes, Flower's Fleet and ours; anything else does not exist. Bodies are
bounded before they are read, since they arrive before anybody is authenticated.
"""

import asyncio
import contextlib
import gc
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fedtui import __version__, events, keys
from fedtui.errors import StorageError
from fedtui.flower import continuity
from fedtui.flower.continuity import Continuity, newest_heads
from fedtui.flower.enrolment import Enrolment
from fedtui.flower.fleet import Fleet
from fedtui.flower.gate import FRESH_SECONDS, DeniedError, Gate
from fedtui.flower.presence import Presence
from fedtui.flower.probing import Probe
from fedtui.flower.studies import Studies
from fedtui.journal import Journal
from fedtui.keys import PublicKey
from fedtui.study import PROTOCOL

# What the federation may know of a run; everything else in a journal stays at home.
NEWS = (
    "RunSubmitted", "RunResumed", "RunPaused", "PhaseStarted", "TrainingProgressed",
    "AnswerReceived", "AnswerRefused", "SitesAwaited", "ShiftFound", "CheckpointWritten",
    "RoundEnded", "RunEnded", "StudyProposed", "StudyDecided", "ValidationStarted",
    "ModelValidated", "ValidationEnded", "SiteSeen", "HeadWitnessed", "LinkChecked",
    "HomeRestored", "JournalRolledBack",
)  # fmt: skip
_NEWS_AT_ONCE = 500
_OWN = (events.TrainingProgressed, events.LinkChecked)  # a site has its own already
# Bytes, the first prefix that fits; Flower's objects are 5 MB chunks, and the echo measures those.
_LIMITS = {"/v1/fleet/": 8 << 20, "/fedtui/echo": 8 << 20, "/fedtui/": 1 << 20}
_MOST_HEADS = 64  # that one site may show us at once
_LONGEST_ECHO = 4 << 20  # bytes
_COLLECTED_PUSHES = 8
_LONGEST_WAIT = 25.0  # seconds
# What reading a site's JSON raises where it is not what ours sends.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
_REFUSAL_SECONDS = 60.0  # the same refusal is journaled once in this time: a log is not a target


class Routes:
    """State behind the routes of one coordinator process.

    Attributes:
        epoch: Changes with the process, so that a site knows when to attach anew.
    """

    def __init__(
        self,
        *,
        gate: Gate,
        enrolment: Enrolment,
        studies: Studies,
        fleet: Fleet,
        presence: Presence,
        probe: Probe,
        journal: Journal,
        site: str,
        key: Callable[[], PublicKey],
        epoch: str,
        storage: Callable[[], str],
    ) -> None:
        self.epoch, self._storage = epoch, storage
        self._gate, self._fleet, self._presence = gate, fleet, presence
        self._enrolment, self._studies = enrolment, studies
        self._probe = probe
        self._journal, self._site = journal, site
        self._refused: dict[tuple[str, str], float] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._continuity = Continuity(journal, site=site, key=key)
        self._heads = {name: continuity.told(r) for name, r in newest_heads(journal).items()}
        self._beyond: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        fleet.on_send = self._ring
        fleet.on_pull = presence.hear  # all that a stock Flower node lets us know

    def app(self) -> Starlette:
        """The ASGI application of our own routes."""
        return Starlette(
            routes=[
                Route("/fedtui/hello", self._enrolment.limited(self.hello), methods=["GET"]),
                *self._enrolment.routes(),
                Route("/fedtui/rotate", self._signed(self._rotated), methods=["POST"]),
                Route("/fedtui/leave", self._signed(self._left), methods=["POST"]),
                Route("/fedtui/echo", self._signed(self.echo), methods=["POST"]),
                Route("/fedtui/attach", self._signed(self.attach), methods=["POST"]),
                Route("/fedtui/report", self._signed(self.report), methods=["POST"]),
                Route("/fedtui/wait", self._signed(self.wait), methods=["POST"]),
                Route("/fedtui/studies", self._signed(self.studies), methods=["POST"]),
                Route("/fedtui/probe", self._signed(self.probe), methods=["POST"]),
            ]
        )

    async def hello(self, _: Request) -> Response:
        """What anybody may ask: that this is fedtui, which version, and what time it is here."""
        return JSONResponse({"fedtui": __version__, "protocol": PROTOCOL, "time": time.time()})

    async def echo(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        """As many bytes as were asked for, for phase 0; remembers nothing."""
        wanted = min(_LONGEST_ECHO, max(0, int(body.get("bytes", 0))))
        return {"time": time.time(), "padding": "0" * wanted}

    async def attach(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        """A site introduces itself; what it was asked and lost is asked again."""
        if body.get("protocol", 1) != PROTOCOL:  # the first did not say
            raise DeniedError("protocol", site)
        await run_in_threadpool(self._presence.hear, site, attached=True)
        witnessed = await run_in_threadpool(self._histories, site, body)
        self._fleet.notify()
        node = str(self._fleet.node(site))
        return {
            "node_id": node,
            "epoch": self.epoch,
            "time": time.time(),
            "protocol": PROTOCOL,
            "witnessed": witnessed,
        }

    def _histories(self, site: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Compare what a site and this journal know of each other; returns its head kept here."""
        heads = body.get("heads")
        for kept in heads[:_MOST_HEADS] if isinstance(heads, list) else ():
            name = kept["head"]["site"]
            if name == self._site and self._continuity.compare(kept):
                self._heads[name] = kept  # our own agent is told, and attaches anew
                self.epoch = secrets.token_hex(8)
        history = body.get("history")
        if isinstance(history, list) and site != self._site:
            self._continuity.learn(history, site=site)
        return self._heads.get(site)

    async def _rotated(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        return {**await self._enrolment.rotate(site, body), "epoch": self.epoch}

    async def _left(self, site: str, _: dict[str, Any]) -> dict[str, Any]:
        return {**await run_in_threadpool(self._enrolment.leave, site), "epoch": self.epoch}

    async def report(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        """A site tells how far it is, and hears how far the others are."""
        return await run_in_threadpool(self._report, site, body)

    async def studies(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        """A site sends what it signed about a study, or asks for what the others did."""
        answer = await run_in_threadpool(self._studies.answer, site, body)
        return {**answer, "epoch": self.epoch}

    async def probe(self, site: str, _: dict[str, Any]) -> dict[str, Any]:
        """A Flower message to the site's node and back, timed, unless a run is under way."""
        return {**await run_in_threadpool(self._probe, site), "epoch": self.epoch}

    async def wait(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answers as soon as there is work for the site, at the latest after 25 s."""
        self._loop = asyncio.get_running_loop()
        bell = self._bells.setdefault(site, asyncio.Event())
        bell.clear()
        if not (self._closing or self._fleet.waiting(site)):
            seconds = min(_LONGEST_WAIT, max(0.0, float(body.get("seconds", 0))))
            try:
                await asyncio.wait_for(bell.wait(), seconds)
            except TimeoutError:
                return {"work": False, "epoch": self.epoch}
        return {"work": True, "epoch": self.epoch}

    def close(self) -> None:
        """Let every waiting request go, so that the process can end at once."""
        self._closing = True
        for site in self._bells:
            self._ring(site)

    def _report(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        full = body.get("storage") is True
        self._presence.hear(site, trouble="its disk is full" if full else "")
        progress = body.get("progress")
        if progress and site != self._site:  # our own agent writes into this very journal
            event = events.accept(progress)
            if isinstance(event, events.TrainingProgressed) and event.site == site:
                self._journal.append(event)
        self._witness(site, body.get("head"))
        if (checked := body.get("checked")) and site != self._site:
            event = events.accept(checked)
            if isinstance(event, events.LinkChecked) and event.site == site:
                self._journal.append(event)
        state = {
            "epoch": self.epoch,
            "studies": self._studies.version,
            "storage": bool(self._storage()),
        }
        if body.get("after") is None:
            return {"news": [], **state}
        news: list[dict[str, Any]] = []
        after = int(body["after"])
        if site not in self._beyond and self._continuity.shorter_than(after):
            self._beyond.add(site)  # once a site and process: it is only its word
        branch = self._continuity.branch()
        while not news and (records := self._journal.own(NEWS, after, limit=_NEWS_AT_ONCE)):
            after = records[-1].seq
            news = [
                {"seq": r.seq, "event": events.to_fields(_abroad(r.event))}
                for r in records
                if not (isinstance(r.event, _OWN) and r.event.site == site)
            ]
        return {"news": news, "branch": branch, **state}

    def _witness(self, site: str, head: Any) -> None:
        """Keep a site's signed head for all its peers; one that is not signed by it is dropped."""
        if not isinstance(head, dict):
            return
        event = events.accept({**head, "event": "HeadWitnessed", "site": site})
        assert isinstance(event, events.HeadWitnessed)
        key = self._gate.key(site)
        if event.key.encode() == keys.public_bytes(key) and keys.head_is_signed(
            key, event.signature, site=site, at=event.at, head=event.head
        ):
            self._heads[site] = continuity.told(self._journal.append(event))

    def _signed(
        self, action: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                body = await request.body()
            except ClientDisconnect:  # e.g. phase 0, once a body of that length was welcome
                return Response(status_code=400)
            try:
                site = self._gate.admit(
                    request.headers, method=request.method, path=request.url.path, body=body
                )
                document = json.loads(body)
                if not isinstance(document, dict):
                    raise ValueError("not an object")
                return JSONResponse(await action(site, document))
            except DeniedError as denied:
                with contextlib.suppress(StorageError):  # the answer is the same
                    await run_in_threadpool(self._refuse, denied)
                return _denied(denied)
            except _MALFORMED:
                return JSONResponse({"error": "malformed"}, status_code=400)
            except StorageError:
                return JSONResponse({"error": "storage"}, status_code=507)

        return endpoint

    def _refuse(self, denied: DeniedError) -> None:
        key, now = (denied.code, denied.site), time.monotonic()
        if now - self._refused.get(key, float("-inf")) >= _REFUSAL_SECONDS:
            self._refused[key] = now
            self._journal.append(events.RequestRefused(site=denied.site, code=denied.code))

    def _ring(self, site: str) -> None:
        bell = self._bells.get(site)
        if bell is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(bell.set)


def _abroad(event: events.Event) -> events.Event:
    """``event`` as sites hear it: where this host keeps a model is no news of theirs."""
    return replace(event, file="") if isinstance(event, events.RunEnded) else event


def _denied(denied: DeniedError) -> Response:
    remedies = {
        "stranger": "This site is not on the coordinator's roster: ask for an invitation.",
        "pending": "Wait until the coordinator's operator has confirmed this site's words.",
        "suspended": "Wait, or call the coordinator's operator.",
        "revoked": "This site was taken off the roster: call the coordinator's operator.",
        "left": "This site left: to come back, join by a new invitation.",
        "forged": "The key is not the one on the coordinator's roster: ask for an invitation.",
        "stale": f"The clocks differ by more than {FRESH_SECONDS:.0f} s: set this host's clock.",
        "replayed": "Nothing to do: the same request arrived twice.",
        "unsigned": "Use fedtui to speak to this coordinator.",
        "protocol": f"The coordinator speaks protocol {PROTOCOL}: install the same fedtui.",
    }
    # 403 carries our words; a 401 could come from anything in between.
    document: dict[str, Any] = {"error": denied.code, "remedy": remedies[denied.code]}
    document |= {"time": time.time(), "protocol": PROTOCOL}
    if denied.statement is not None:
        document["statement"] = denied.statement
    return JSONResponse(document, status_code=403)


def guard(fleet_app: ASGIApp, own_app: ASGIApp, *, on_push: Callable[[], None]) -> ASGIApp:
    """One ASGI application out of Flower's Fleet and our routes; all else is 404."""
    pushed = itertools.count(1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await own_app(scope, receive, send)
            return
        path = scope["path"]
        prefix = next((p for p in _LIMITS if path.startswith(p)), None)
        if scope["type"] != "http" or prefix is None:
            await JSONResponse({"error": "not-found"}, status_code=404)(scope, receive, send)
            return
        if not _bounded(scope, _LIMITS[prefix]):
            await JSONResponse({"error": "too-large"}, status_code=413)(scope, receive, send)
            return
        await (fleet_app if prefix == "/v1/fleet/" else own_app)(scope, receive, send)
        if path in ("/v1/fleet/push-object", "/v1/fleet/push-messages"):
            on_push()
        if path == "/v1/fleet/push-object":
            # Starlette's layers tie a request, with its 5 MB twice, into knots that only the
            # collector undoes; by itself it comes so rarely that 600 MB lie about at 100 MB.
            scope.get("state", {}).clear()
            if next(pushed) % _COLLECTED_PUSHES == 0:
                gc.collect()

    return app


def _bounded(scope: Scope, limit: int) -> bool:
    """Whether the request says how long its body is, and that is within ``limit`` bytes."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:  # ours always know their length
        return False
    length = headers.get(b"content-length", b"0")
    return length.isdigit() and int(length) <= limit
