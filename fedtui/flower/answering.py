"""In the agent: one piece of work after the other is fetched, done, answered and journaled."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from flwr.app import Context, Message, RecordDict

from fedtui import events, site
from fedtui.errors import OperatorError, storage
from fedtui.flower import crash, validation
from fedtui.flower.assignment import Assignment
from fedtui.flower.client import SiteClient, create_app
from fedtui.flower.consent import Consent
from fedtui.flower.ledger import Ledger
from fedtui.flower.node import Node
from fedtui.flower.release import Exit
from fedtui.flower.reporting import Reports
from fedtui.flower.work import PROBE, Key, Work
from fedtui.flower.workbench import Workbench
from fedtui.identifiers import scrubbed

if TYPE_CHECKING:
    from fedtui.flower.interop import StockRun

STORAGE_SECONDS = 1.0  # between two tries over a disk that is full


class Answering:
    """What becomes of the coordinator's messages at this site.

    Attributes:
        state: What the site is at: ``state``, and of a piece of work its run and round.
        storage: What the disk says while it takes no answer; else empty.
        worked: When the last piece of work came, by the monotonic clock.

    Args:
        read: From a message to its checked order.
        key_of: From a message to the piece of work that it asks for.
        stock: Where a stock coordinator leads, which knows no validation.
    """

    def __init__(
        self,
        own: validation.Own,
        *,
        node: Node,
        read: Callable[[Message], Assignment],
        key_of: Callable[[Message], Key],
        stock: "StockRun | None",
        work: Work,
        bench: Workbench,
        consent: Consent,
        exit: Exit,
        reports: Reports,
    ) -> None:
        self._home, self._journal = own.home, own.journal
        self._node, self._key_of, self._stock = node, key_of, stock
        self._work, self._bench, self._consent = work, bench, consent
        self._exit, self._reports = exit, reports
        self._app = create_app(read, self._client, exit)
        if stock is None:
            validation.register(self._app, read, self._client, exit, own)
        self._current: SiteClient | None = None
        self._run, self._seen = "", 0  # the run last worked for, until the journal tells its end
        self.state: dict[str, Any] = {"state": "waiting"}
        self.storage = ""
        self.worked = float("-inf")

    @property
    def busy(self) -> str:
        """What the site is at; empty while it waits."""
        return str(self.state["state"]).replace("waiting", "")

    def answer(self, head: Message, tree: Any) -> None:
        """Fetch the message of which ``Node.pull`` gave the head, do its work, and push the answer.

        Raises:
            LinkError: the line broke; the coordinator asks for the answer again.
        """
        traffic = self._node.traffic
        sent, received = traffic.sent, traffic.received
        began = self.worked = time.monotonic()
        self._current = None
        message = self._node.fetch(head, tree)
        pulled = time.monotonic()
        key = self._key_of(message)
        if key.phase == PROBE:
            self._node.push(self._exit.nothing(reply_to=message), round=0)
            return
        crash.point("agent.pulled", key.round)
        if key.run != self._run:
            self._run, self._seen = key.run, self._journal.head()[0]
        self._append(
            events.WorkReceived(
                run=key.run, round=key.round, phase=key.phase, bytes=traffic.received - received
            )
        )
        if self._stock is not None:
            self._stock.asked(key)
        self.state = {"state": key.phase, "run": key.run, "round": key.round}
        try:
            reply = self._reply(message, key)
            answered = time.monotonic()
            self.state = {"state": "sending", "run": key.run, "round": key.round}
            self._node.push(reply, round=key.round)
        finally:
            self.state = {"state": "waiting"}
            self._reports.over()
        metrics = dict(reply.content.metric_records["metrics"]) if reply.has_content() else {}
        numbers = {n: v for n, v in metrics.items() if isinstance(v, int | float)}
        if key.phase in ("evaluate", "validate", "exchange"):
            self._reports.round_ended(key.run)
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

    def run_is_over(self) -> bool:
        """Whether the run that was last worked for is over or paused, or there was none."""
        for record in self._journal.read(self._seen) if self._run else ():
            self._seen, event = record.seq, record.event
            over = isinstance(event, events.RunEnded)
            over |= isinstance(event, events.RunPaused) and event.paused
            if over and getattr(event, "run", "") == self._run:
                self._run = ""
        return not self._run

    def _reply(self, message: Message, key: Key) -> Message:
        context = Context(
            run_id=message.metadata.run_id,
            node_id=self._node.node_id,
            node_config={},
            state=RecordDict(),
            run_config={},
        )
        try:
            return self._stored(lambda: self._app(message, context))
        except OperatorError as error:
            self._append(
                events.WorkFailed(
                    run=key.run,
                    round=key.round,
                    phase=key.phase,
                    cause=scrubbed(str(error)),
                    remedy=scrubbed(error.remedy),
                )
            )
            return self._exit.failure(error, reply_to=message)

    def _stored(self, work: Callable[[], Message]) -> Message:
        """Have ``work`` done, again and again for as long as the disk does not take it."""
        began = time.monotonic()
        while True:
            try:
                reply = work()
                break
            except (OperatorError, OSError) as error:
                if (trouble := storage(error)) is None:
                    raise
                self.storage = str(trouble)
            time.sleep(STORAGE_SECONDS)
        if self.storage:
            cause, self.storage = self.storage, ""
            seconds = round(time.monotonic() - began, 1)
            self._append(events.StorageAwaited(process="agent", seconds=seconds, cause=cause))
        return reply

    def _client(self, assignment: Assignment) -> SiteClient:
        here = site.load(self._home)  # read anew: an operator may have mended it
        self._current = SiteClient(
            assignment,
            site=here,
            ledger=Ledger(self._journal, limit=here.limits.epsilon),
            work=self._work,
            bench=self._bench,
            on_progress=partial(self._reports.progressed, private=bool(assignment.study.privacy)),
            on_event=self._append,
            cohorts=self._exit.cohorts,
            audit=self._home.audit,
            on_access=self._consent.accessed,
        )
        return self._current

    def _append(self, event: events.Event) -> None:
        self._journal.append(event)
