"""The agent: the one long-lived process of a site. It is the Flower node, and keeps a trainer.

The link thread (the main one) attaches, pulls work, has it done and pushes the answer; whenever
anything goes wrong it attaches again and the coordinator re-issues what is missing. A second
thread reports progress and takes over the federation's news, once a second, meanwhile.
"""

import contextlib
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Message

from fedtui import __version__, checks, events, keys, orders, processes, site
from fedtui import study as studies
from fedtui.errors import NetworkError, OperatorError, TrustError, UsageError
from fedtui.flower import continuity, validation
from fedtui.flower.answering import Answering
from fedtui.flower.assignment import Assignment, key_of, read_order
from fedtui.flower.auditing import Audits
from fedtui.flower.belonging import Belonging
from fedtui.flower.consent import Consent
from fedtui.flower.continuity import Continuity, newest_heads
from fedtui.flower.health import SLOW_SECONDS, Health
from fedtui.flower.importing import Imports
from fedtui.flower.link import Link, RevokedError, other_protocol
from fedtui.flower.node import HEARTBEAT_SECONDS, Node
from fedtui.flower.release import Exit
from fedtui.flower.releases import Releases
from fedtui.flower.reporting import Reports
from fedtui.flower.work import Work
from fedtui.flower.workbench import Workbench
from fedtui.journal import Journal
from fedtui.operations import findings
from fedtui.processes import Lock
from fedtui.site import Home
from fedtui.study import PROTOCOL
from fedtui.transport import LinkError

REPORT_SECONDS = 1.0
CHECK_SECONDS = 6.0  # while a run is under way: a link that goes bad is named within 10 s
IDLE_CHECK_SECONDS = 120.0
WAIT_SECONDS = 20.0  # a request that waits for work; well below common proxies' 60 s idle limit
STOCK_POLL_SECONDS = 0.5  # a stock SuperLink has no request that waits for work


class Agent:
    """One site's agent, from its home."""

    def __init__(self, home: Home) -> None:
        logging.getLogger("flwr").setLevel(logging.WARNING)
        self._home = home
        self._site = site.load(home)
        membership = site.load_membership(home)
        key = keys.load_private(home.keys / "node.key")
        self._lock = Lock(home, "agent")
        self._journal = Journal(home.journal, source="agent", patient=True)
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
            releases=Releases(home.releases, minimum=self._site.limits.minimum_cell),
        )
        self._exit = exit
        self._stock = membership.kind == "flower"
        read: Callable[[Message], Assignment] = partial(read_order, site=self._site.name)
        asked, stock_run = key_of, None
        if self._stock:
            from fedtui.flower import interop

            agreed = studies.load(home.interop)
            read = partial(interop.read_stock_order, study=agreed, site=self._site.name)
            asked = interop.stock_key
            stock_run = interop.StockRun(self._journal, agreed, site=self._site.name)
        self._consent = Consent(
            home, self._journal, self._link, name=self._site.name,
            authority=membership.authority, words=exit.words,
        )  # fmt: skip
        read = self._consent.guard(read)
        self._audits = Audits(
            home, self._bench, self._journal,
            busy=lambda: self._answering.busy,
            on_access=self._consent.accessed,
        )  # fmt: skip
        self._imports = Imports(
            home, self._bench, self._journal, self._consent,
            busy=lambda: self._answering.busy,
        )  # fmt: skip
        self._belonging = Belonging(
            home, self._site.name, key, link=self._link, node=self._node,
            append=self._append, clean=exit.words,
        )  # fmt: skip
        self._health = Health(self._append)
        self._continuity = Continuity(
            self._journal, site=self._site.name, key=lambda: self._belonging.key.public_key()
        )
        self._boot = secrets.token_hex(8)
        self._attempt = 0
        self._epoch = ""
        self._reports = Reports(
            home, self._site, self._journal, link=self._link, exit=exit, consent=self._consent,
            bench=self._bench, belonging=self._belonging, boot=self._boot,
            state=lambda: self._answering.state, trouble=lambda: self._trouble,
        )  # fmt: skip
        self._answering = Answering(
            validation.Own(home=home, name=self._site.name, journal=self._journal),
            node=self._node, read=read, key_of=asked, stock=stock_run, work=self._work,
            bench=self._bench, consent=self._consent, exit=exit, reports=self._reports,
        )  # fmt: skip

    def run(self) -> None:
        """Serve until SIGTERM."""
        self._append(events.ProcessStarted(process="agent", pid=os.getpid(), version=__version__))
        accepted: orders.Orders = {
            "ping": lambda _: {"pid": os.getpid()},
            "status": lambda _: self._status(),
            "rotate": lambda _: self._rotate(),
            "probe": lambda _: self._probe(),
            "audit": self._audits.order,
            "import": self._imports.order,
            "studies": lambda _: self._consent.synchronise(),
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
        while True:
            try:
                self._attach()
                while self._step():
                    self._health.worked()
            except LinkError as error:
                self._health.wait(self._health.failed(error))
            except RevokedError as error:
                self._health.wait(self._revoked(error))

    def _attach(self) -> None:
        """Introduce this site; the coordinator re-issues whatever it has not been answered."""
        if self._stock:
            self._node.activate(stored=self._home.state / "node_id")
            self._node.heartbeat()
            self._health.attached()
            return
        self._belonging.finish()
        self._attempt += 1
        body = {
            "boot": self._boot,
            "attempt": self._attempt,
            "version": __version__,
            "protocol": PROTOCOL,
            "held": self._work.held(),
            "heads": [continuity.told(record) for record in newest_heads(self._journal).values()],
            "history": self._continuity.history(),
        }
        answer = self._link.post("/fedtui/attach", self._exit.words(body))
        if (theirs := answer.get("protocol", 1)) != PROTOCOL:
            raise other_protocol(theirs)
        try:
            self._continuity.check(answer.get("witnessed"))
        except TrustError as error:
            raise LinkError("rolled-back", str(error), remedy=error.remedy, passing=False) from None
        self._node.node_id, self._epoch = int(answer["node_id"]), answer["epoch"]
        self._health.ahead = time.time() - float(answer.get("time", time.time()))
        self._node.heartbeat()
        self._health.attached()

    def _step(self) -> bool:
        """One message, or one wait for it; False when the coordinator is a new one."""
        pulled = self._node.pull()
        if pulled is not None:
            self._answering.answer(*pulled)
            return True
        if self._stock:
            time.sleep(STOCK_POLL_SECONDS)
            return True
        answer = self._link.post(
            "/fedtui/wait",
            self._exit.words({"seconds": WAIT_SECONDS}),
            timeout=WAIT_SECONDS + 10,
        )
        return bool(answer["epoch"] == self._epoch)

    def _rotate(self) -> dict[str, Any]:
        """Change this site's key, at an operator's order."""
        if self._stock:
            raise UsageError(
                "A stock SuperLink knows this site by its key alone.",
                remedy="Have it register keys/node.pub of a home made anew.",
            )
        try:
            return self._belonging.rotate()
        except LinkError as error:
            raise NetworkError(
                f"The coordinator did not take the new key: {error}.",
                remedy=f"{error.remedy} The old key goes on; the change is made when the link is "
                "up again.",
            ) from error

    def _probe(self) -> dict[str, Any]:
        """Have the coordinator send this node a message that asks for nothing; the link thread
        answers it.
        """
        if self._stock:
            return {"busy": True}
        try:
            return self._link.post("/fedtui/probe", self._exit.words({}))
        except LinkError as error:
            raise NetworkError(f"{error}.", remedy=error.remedy) from error

    # The report thread.

    def _report_for_ever(self) -> None:
        while True:
            time.sleep(SLOW_SECONDS if self._health.slow else REPORT_SECONDS)
            try:
                self._reports.send()
                self._health.reported(None)
            except LinkError as error:  # the link thread may be deep in training
                self._health.reported(error)
            except RevokedError as error:
                self._revoked(error)
            except (OperatorError, OSError):  # the link thread meets and names it
                continue

    def _check_for_ever(self) -> None:
        """Repeat the cheap checks: often during a run or without a link, else now and then."""
        idle, known = 0.0, findings.Known()
        while True:
            time.sleep(CHECK_SECONDS)
            idle += CHECK_SECONDS
            still = time.monotonic() - self._answering.worked
            quiet = still > IDLE_CHECK_SECONDS and not self._health.code
            if quiet and idle < IDLE_CHECK_SECONDS:
                continue
            idle = 0.0
            with contextlib.suppress(OSError):  # a check's own probe on a full disk
                findings.record(self._home, checks.cheap(home=self._home), self._journal, known)

    def _rest(self) -> None:
        """End a trainer that has been idle, once the run it worked for is over or paused."""
        limit = self._site.trainer.idle_seconds
        if self._bench.idle_seconds >= limit and self._answering.run_is_over():
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

    def _revoked(self, error: RevokedError) -> float:
        """End with the membership; returns how long to wait for that end, in seconds."""
        failure = LinkError("revoked", str(error), remedy=error.remedy, passing=False)
        pause = self._health.failed(failure)
        if not self._site.coordinates:
            self._belonging.end(error)
            os.kill(os.getpid(), signal.SIGTERM)
        return pause

    @property
    def _trouble(self) -> str:
        return self._journal.trouble or self._answering.storage

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "storage": self._trouble,
            "trainer": self._bench.pid,
            "link": "up" if self._health.code == "" else self._health.code or "starting",
            **self._answering.state,
        }

    def _journal_trainer(self, pid: int, device: dict[str, Any]) -> None:
        self._append(events.ProcessStarted(process="trainer", pid=pid, version=__version__))
        self._append(events.DeviceReported(**device))

    def _append(self, event: events.Event) -> None:
        self._journal.append(event)


def _end(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    home = Home(Path(sys.argv[1]))
    sys.exit(processes.carry(home, "agent", lambda: Agent(home).run()))
