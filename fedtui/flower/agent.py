"""The agent: the one long-lived process of a site. It is the Flower node, and keeps a trainer.

The link thread (the main one) attaches, pulls work, has it done and pushes the answer; whenever
anything goes wrong it attaches again and the coordinator re-issues what is missing. A second
thread reports progress and takes over the federation's news, once a second, meanwhile.
"""

import json
import logging
import os
import random
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.app import Error as FlowerError

from fedtui import __version__, checks, events, keys, orders, processes, site
from fedtui import study as studies
from fedtui.errors import OperatorError, TrustError
from fedtui.flower import crash
from fedtui.flower.client import Assignment, SiteClient, create_app, read_order
from fedtui.flower.ledger import Ledger
from fedtui.flower.link import Link, LinkError
from fedtui.flower.node import HEARTBEAT_SECONDS, Node
from fedtui.flower.release import Exit
from fedtui.flower.work import Key, Work
from fedtui.flower.workbench import Workbench
from fedtui.journal import Journal
from fedtui.operations import findings
from fedtui.processes import Lock
from fedtui.site import Home

REPORT_SECONDS = 1.0
CHECK_SECONDS = 6.0  # while a run is under way: a link that goes bad is named within 10 s
IDLE_CHECK_SECONDS = 120.0
REPORT_TIMEOUT_SECONDS = 6.0  # a cut link is named within 10 s, also while training
WAIT_SECONDS = 20.0  # a request that waits for work; well below common proxies' 60 s idle limit
STOCK_POLL_SECONDS = 0.5  # a stock SuperLink has no request that waits for work
_BACKOFF_CAP = 5.0  # seconds; a link that is back is found again within this
FAILED = 100  # Flower error code of an answer that is one of our own named errors


class Agent:
    """One site's agent, from its home."""

    def __init__(self, home: Home) -> None:
        logging.getLogger("flwr").setLevel(logging.WARNING)
        self._home = home
        self._site = site.load(home)
        membership = site.load_membership(home)
        key = keys.load_private(home.keys / "node.key")
        self._lock = Lock(home, "agent")
        self._journal = Journal(home.journal, source="agent")
        self._link = Link(membership, site=self._site.name, key=key)
        self._node = Node(membership, key)
        self._work = Work(home.work)
        self._bench = Workbench(
            home,
            self._site.name,
            on_start=lambda pid, device: self._journal_trainer(pid, device),
            on_end=lambda cause: self._append(events.ProcessEnded(process="trainer", cause=cause)),
        )
        exit = Exit(
            self._journal,
            minimum_cell=self._site.limits.minimum_cell,
            recipient=f"coordinator {membership.address}",
        )
        self._exit = exit
        self._stock = membership.kind == "flower"
        self._key_of = _key
        read: Callable[[Message], Assignment] = partial(read_order, site=self._site.name)
        if self._stock:
            from fedtui.flower import interop

            agreed = studies.load(home.interop)
            read = partial(interop.read_stock_order, study=agreed, site=self._site.name)
            self._key_of = interop.stock_key
            self._stock_run = interop.StockRun(self._journal, agreed, site=self._site.name)
        self._app = create_app(read, self._client, exit)
        self._current: SiteClient | None = None
        self._key = key
        self._head_of = ""  # the run whose round this site has just finished
        self._told = self._journal.head()[0]  # the last record of our checks that others know
        self._worked = float("-inf")  # when the last piece of work came, by the monotonic clock
        self._run, self._seen = "", 0  # the run that it was for, until the journal tells its end
        self._boot = secrets.token_hex(8)
        self._attempt = 0
        self._epoch = ""
        self._link_code: str | None = None  # None before the first news of the link
        self._progress: events.TrainingProgressed | None = None
        self._state: dict[str, Any] = {"state": "waiting"}
        self._changed = threading.Lock()

    def run(self) -> None:
        """Serve until SIGTERM."""
        self._append(events.ProcessStarted(process="agent", pid=os.getpid(), version=__version__))
        accepted: orders.Orders = {
            "ping": lambda _: {"pid": os.getpid()},
            "status": lambda _: self._status(),
        }
        server = orders.take_orders(self._home, "agent", accepted, self._journal)
        processes.keep_supervised(self._home)
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._bench.warm()
        threading.Thread(target=self._beat_for_ever, name="heartbeat", daemon=True).start()
        if not self._stock:
            threading.Thread(target=self._report_for_ever, name="report", daemon=True).start()
            threading.Thread(target=self._check_for_ever, name="checks", daemon=True).start()
        try:
            self._serve()
        finally:
            server.close()
            self._bench.close()
            self._append(events.ProcessEnded(process="agent", cause="stopped"))

    # The link thread.

    def _serve(self) -> None:
        failures = 0
        while True:
            try:
                self._attach()
                failures = 0
                while self._step():
                    pass
            except LinkError as error:
                self._link_changed(error)
                failures += 1
                pause = min(_BACKOFF_CAP, 0.1 * 2 ** min(failures, 10))
                time.sleep(pause * random.uniform(0.7, 1.0))
            except TrustError as error:
                self._link_changed(LinkError("untrusted", str(error), remedy=error.remedy))
                time.sleep(_BACKOFF_CAP)

    def _attach(self) -> None:
        """Introduce this site; the coordinator re-issues whatever it has not been answered."""
        if self._stock:
            self._node.activate(stored=self._home.state / "node_id")
            self._node.heartbeat()
            self._link_changed(None)
            return
        self._attempt += 1
        body = {
            "boot": self._boot,
            "attempt": self._attempt,
            "version": __version__,
            "held": self._work.held(),
        }
        answer = self._link.post("/fedtui/attach", body)
        self._node.node_id, self._epoch = int(answer["node_id"]), answer["epoch"]
        self._node.heartbeat()
        self._link_changed(None)

    def _step(self) -> bool:
        """One message, or one wait for it; False when the coordinator is a new one."""
        pulled = self._node.pull()
        if pulled is not None:
            self._handle(*pulled)
            return True
        if self._stock:
            time.sleep(STOCK_POLL_SECONDS)
            return True
        answer = self._link.post(
            "/fedtui/wait", {"seconds": WAIT_SECONDS}, timeout=WAIT_SECONDS + 10
        )
        return bool(answer["epoch"] == self._epoch)

    def _handle(self, head: Message, tree: Any) -> None:
        traffic = self._node.traffic
        sent, received = traffic.sent, traffic.received
        began = self._worked = time.monotonic()
        self._current = None
        message = self._node.fetch(head, tree)
        pulled = time.monotonic()
        key = self._key_of(message)
        crash.point("agent.pulled", key.round)
        if key.run != self._run:
            self._run, self._seen = key.run, self._journal.head()[0]
        self._append(
            events.WorkReceived(
                run=key.run, round=key.round, phase=key.phase, bytes=traffic.received - received
            )
        )
        if self._stock:
            self._stock_run.asked(key)
        self._state = {"state": key.phase, "run": key.run, "round": key.round}
        try:
            reply = self._reply(message, key)
            answered = time.monotonic()
            self._state = {"state": "sending", "run": key.run, "round": key.round}
            self._node.push(reply, round=key.round)
        finally:
            self._state = {"state": "waiting"}
            self._progress = None
        metrics = dict(reply.content.metric_records["metrics"]) if reply.has_content() else {}
        numbers = {n: v for n, v in metrics.items() if isinstance(v, int | float)}
        if key.phase == "evaluate":
            self._head_of = key.run
        trained = self._current.seconds if self._current else 0.0
        self._append(
            events.WorkAnswered(
                run=key.run,
                round=key.round,
                phase=key.phase,
                examples=int(numbers.pop("num-examples", 0)),
                metrics={name: value for name, value in numbers.items() if name != "seconds"},
                seconds={
                    "pull": round(pulled - began, 4),
                    "work": round(answered - pulled - trained, 4),
                    "train": round(trained, 4),
                    "push": round(time.monotonic() - answered, 4),
                },
                bytes_received=traffic.received - received,
                bytes_sent=traffic.sent - sent,
                stored=self._current is not None and self._current.stored,
            )
        )

    def _reply(self, message: Message, key: Key) -> Message:
        context = Context(
            run_id=message.metadata.run_id,
            node_id=self._node.node_id,
            node_config={},
            state=RecordDict(),
            run_config={},
        )
        try:
            return self._app(message, context)
        except OperatorError as error:
            self._append(
                events.WorkFailed(
                    run=key.run,
                    round=key.round,
                    phase=key.phase,
                    cause=str(error),
                    remedy=error.remedy,
                )
            )
            return Message(FlowerError(FAILED, json.dumps(error.to_json())), reply_to=message)

    def _client(self, assignment: Assignment) -> SiteClient:
        here = site.load(self._home)  # read anew: an operator may have mended it
        self._current = SiteClient(
            assignment,
            site=here,
            ledger=Ledger(self._journal, limit=here.limits.epsilon),
            work=self._work,
            bench=self._bench,
            on_progress=self._progressed,
            on_event=self._append,
        )
        return self._current

    # The report thread.

    def _report_for_ever(self) -> None:
        while True:
            time.sleep(REPORT_SECONDS)
            try:
                self._report()
                self._link_changed(None)
            except LinkError as error:  # the link thread may be deep in training
                self._link_changed(error)
            except OperatorError:  # the link thread meets and names it
                continue

    def _report(self) -> None:
        progress, self._progress = self._progress, None
        own = self._site.coordinates  # then the coordinator writes into this very journal
        run = self._head_of
        body = {
            "boot": self._boot,
            "state": self._state,
            "head": self._signed_head(run) if run and not own else None,
            "progress": events.to_fields(self._exit.progress(progress)) if progress else None,
            "after": None if own else self._journal.last_origin(),
        }
        checked = self._journal.own(("LinkChecked",), self._told)
        if checked:
            body["checked"] = events.to_fields(checked[-1].event)
        answer = self._link.post("/fedtui/report", body, timeout=REPORT_TIMEOUT_SECONDS)
        if self._head_of == run:
            self._head_of = ""
        if checked:
            self._told = checked[-1].seq
        if news := list(_news(answer.get("news"))):
            self._journal.append_all(news)
            if self._bench.pid is None and any(self._concerns_us(event) for event, _ in news):
                self._bench.warm()  # the work follows

    def _signed_head(self, run: str) -> dict[str, Any]:
        """This site's journal as it stands, signed: what its peers will hold it to."""
        at, head = self._journal.head()
        signature = keys.sign_head(self._key, site=self._site.name, at=at, head=head.hex())
        public = keys.public_bytes(self._key.public_key()).decode()
        return {"run": run, "at": at, "head": head.hex(), "key": public, "signature": signature}

    def _check_for_ever(self) -> None:
        """Repeat the cheap checks: often during a run or without a link, else now and then."""
        idle = 0.0
        while True:
            time.sleep(CHECK_SECONDS)
            idle += CHECK_SECONDS
            quiet = time.monotonic() - self._worked > IDLE_CHECK_SECONDS and not self._link_code
            if quiet and idle < IDLE_CHECK_SECONDS:
                continue
            idle = 0.0
            findings.record(self._home, checks.cheap(home=self._home), self._journal)

    def _concerns_us(self, event: events.Event) -> bool:
        asked = (events.RunSubmitted, events.PhaseStarted)
        return isinstance(event, asked) and self._site.name in event.sites

    def _rest(self) -> None:
        """End a trainer that has been idle, once the run it worked for is over or paused."""
        limit = self._site.trainer.idle_seconds
        if self._bench.idle_seconds < limit:
            return
        for record in self._journal.read(self._seen) if self._run else ():
            self._seen, event = record.seq, record.event
            over = isinstance(event, events.RunEnded)
            over |= isinstance(event, events.RunPaused) and event.paused
            if over and getattr(event, "run", "") == self._run:
                self._run = ""
        if not self._run:
            self._bench.rest(limit)

    def _beat_for_ever(self) -> None:
        while True:
            time.sleep(min(HEARTBEAT_SECONDS / 2, self._site.trainer.idle_seconds))
            self._rest()
            if self._node.node_id:
                try:
                    self._node.heartbeat()
                except LinkError:  # the link thread meets and names the same trouble
                    continue

    # Shared.

    def _progressed(self, event: events.TrainingProgressed) -> None:
        self._progress = event
        self._append(event)

    def _link_changed(self, error: LinkError | None) -> None:
        code = "" if error is None else error.code
        with self._changed:
            if code == self._link_code:
                return
            self._link_code = code
        cause = "attached" if error is None else f"{error}. {error.remedy}"
        self._append(events.LinkChanged(up=error is None, code=code, cause=cause))

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "trainer": self._bench.pid,
            "link": "up" if self._link_code == "" else self._link_code or "starting",
            **self._state,
        }

    def _journal_trainer(self, pid: int, device: dict[str, Any]) -> None:
        self._append(events.ProcessStarted(process="trainer", pid=pid, version=__version__))
        self._append(events.DeviceReported(**device))

    def _append(self, event: events.Event) -> None:
        self._journal.append(event)


def _news(items: Any) -> Iterator[tuple[events.Event, int]]:
    """The coordinator's news with its position there, without what this fedtui does not know."""
    for item in items if isinstance(items, list) else ():
        try:
            yield events.accept(item["event"]), int(item["seq"])
        except (ValueError, KeyError, TypeError):  # e.g. a kind of event from a newer fedtui
            continue


def _key(message: Message) -> Key:
    config = message.content["config"]
    phase: Any = config["phase"]
    return Key(str(config["run"]), int(config["round"]), phase)  # type: ignore[arg-type]


def _end(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    home = Home(Path(sys.argv[1]))
    sys.exit(processes.carry(home, "agent", lambda: Agent(home).run()))
