"""Flower's ``Grid`` over the Fleet in this process: asks sites, waits, re-issues what is lost.

Flower delivers a message at most once and waits for ever; here a site that attaches anew is asked
again (it answers from its store), and a study's quorum and deadline bound the waiting.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run

from fedtui import errors, events
from fedtui.errors import QuorumError
from fedtui.events import Phase
from fedtui.flower import crash
from fedtui.flower.control import Control
from fedtui.flower.fleet import Fleet
from fedtui.flower.presence import Presence
from fedtui.flower.vectors import RefusedError
from fedtui.journal import Journal
from fedtui.study import Quorum

_LOOK_SECONDS = 0.25  # between looks when nothing wakes us; replies do
_AWAITED_SECONDS = 30.0  # between two warnings about the same silent sites
MESSAGE_SECONDS = 12 * 3600.0  # a message's life at Flower; it is re-issued when it expires


@dataclass
class _Question:
    """One site's outstanding piece of work: every message that asked for it."""

    content: RecordDict
    kind: str
    asked: float
    attached: int
    ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A judged answer of one site.

    Attributes:
        seconds: From asking to having it, wall time.
        trained: Of these, how long the site's trainer worked.
    """

    site: str
    examples: int
    metrics: dict[str, float]
    seconds: float
    trained: float
    body: Any


Judge = Callable[[str, Message], tuple[int, dict[str, float], Any]]


class DirectGrid(Grid):
    """Messages to the sites of one run, without a network in between.

    Attributes:
        judge: Turns a site's reply into (examples, metrics, body), or raises RefusedError.
        replies: What the last exchange brought, by site name.
    """

    def __init__(
        self,
        fleet: Fleet,
        presence: Presence,
        journal: Journal,
        *,
        run: str,
        quorum: Quorum,
        control: Control,
        bundle: Fab | None = None,
        withdrawn: Callable[[str], bool] = lambda _: False,
        trainers: int | None = None,
    ) -> None:
        self._trainers = trainers  # where not all of the study's sites train
        self._withdrawn = withdrawn  # whether a site no longer approves of the study
        self._fleet, self._presence, self._journal = fleet, presence, journal
        self._run, self._quorum, self._control = run, quorum, control
        self._flower_run = fleet.begin_run(bundle)
        self._gone: set[str] = set()
        self._causes: dict[str, str] = {}  # by site, why it was refused in this exchange or left
        self._asked = self._needed = 0  # sites, of the exchange under way
        self._refusals: dict[str, RefusedError] = {}
        self.judge: Judge | None = None
        self.replies: dict[str, Reply] = {}

    def close(self) -> None:
        """End the Flower run behind this grid."""
        self._fleet.end_run(self._flower_run)

    def present(self, sites: Iterable[str], *, round: int, phase: Phase) -> list[str]:
        """Those of ``sites`` that still take part; who was taken off the roster, or withdrew its
        approval, is journaled, once.

        Raises:
            QuorumError: none is left.
        """
        here = []
        for site in sorted(sites):
            if self._here(site):
                here.append(site)
            else:
                self._left(site, round, phase)
        if not here:
            raise QuorumError(
                f"Round {round}, {phase}: no site is left to ask{self._why()}.",
                remedy="Mend that, then submit the run again.",
            )
        return here

    def refuse(self, site: str, round: int, phase: Phase, code: str, cause: str) -> None:
        """Take back an answer that was judged with the others'.

        Raises:
            QuorumError: too few remain.
        """
        del self.replies[site]
        self._refused(site, round, phase, code, cause)
        self._enough(round, phase)

    def ask(
        self, contents: dict[str, RecordDict], kind: str, *, round: int, phase: Phase
    ) -> dict[str, Reply]:
        """Send each site its content and wait for the answers, as the study's quorum says.

        Raises:
            StoppedError: an operator stopped the run.
            QuorumError: too few valid answers, or too late.
            OperatorError: of the kind for which every site refused.
        """
        self._control.obey()
        self._causes = {site: why for site, why in self._causes.items() if site in self._gone}
        self._journal.append(
            events.PhaseStarted(run=self._run, round=round, phase=phase, sites=tuple(contents))
        )
        began = time.monotonic()
        waiting: dict[str, _Question] = {}
        for site, content in contents.items():
            attached = self._presence.attached(site)
            waiting[site] = _Question(content, kind, began, attached)
            self._send(site, waiting[site])
        crash.point("coordinator.evaluating" if phase == "evaluate" else "coordinator.asked", round)
        self.replies, self._refusals = {}, {}
        of = self._trainers if phase == "train" and self._trainers else self._quorum.minimum_sites
        self._asked, self._needed = len(contents), self._quorum.needed(len(contents), of=of)
        try:
            self._collect(waiting, began, round, phase)
        finally:  # also where a full disk ends the exchange, to ask anew
            for question in waiting.values():
                self._fleet.forget(question.ids)
        self._enough(round, phase)
        return self.replies

    def _collect(
        self, waiting: dict[str, _Question], began: float, round: int, phase: Phase
    ) -> None:
        """Take answers until none is outstanding, or the deadline ends the waiting."""
        warned, late = began, False
        while waiting:
            self._fleet.wait(_LOOK_SECONDS)
            self._control.obey()
            for site, question in list(waiting.items()):
                if not self._here(site):
                    del waiting[site]
                    self._left(site, round, phase)
                elif self._answered(site, question, round, phase):
                    self._fleet.forget(question.ids)
                    del waiting[site]
                elif self._lost(site, question):
                    self._send(site, question)
            now = time.monotonic()
            here, trouble = self._presence.here, self._presence.trouble
            silent = tuple(site for site in waiting if not here(site) or trouble(site))
            if silent and now - warned > (_AWAITED_SECONDS if late else 5.0):
                warned, late = now, True
                self._journal.append(
                    events.SitesAwaited(
                        run=self._run, round=round, phase=phase, sites=silent,
                        seconds=round_to_tenth(now - began),
                        causes=tuple(f"{s}: {trouble(s)}" for s in silent if trouble(s)),
                    )
                )  # fmt: skip
            if now - began > self._quorum.deadline_seconds and self._give_up(waiting, round, phase):
                return

    def _enough(self, round: int, phase: Phase) -> None:
        if len(self.replies) < self._needed:
            self._unanimous(round, phase)
            raise QuorumError(
                f"Round {round}, {phase}: {len(self.replies)} of {self._asked} sites gave a "
                f"valid answer; {self._needed} are needed"
                + (f", and {', '.join(sorted(self._gone))} left" if self._gone else "")
                + f"{self._why()}.",
                remedy="Mend that, then submit the run again.",
            )

    def _unanimous(self, round: int, phase: Phase) -> None:
        """Where every site says that it cannot, and why, that is the end's reason and code."""
        kinds = {refusal.kind for refusal in self._refusals.values()}
        if len(self._refusals) == self._asked and len(kinds) == 1 and (kind := kinds.pop()):
            causes = dict.fromkeys(str(self._refusals[site]) for site in sorted(self._refusals))
            raise errors.from_json(
                {
                    "error": kind,
                    "message": f"Round {round}, {phase}: every site refuses. {' '.join(causes)}",
                    "remedy": "Then submit the run again.",
                }
            )

    def _answered(self, site: str, question: _Question, round: int, phase: Phase) -> bool:
        try:
            message = next(
                filter(None, (self._fleet.receive(id, self._flower_run) for id in question.ids)),
                None,
            )
            if message is None:
                return False
            assert self.judge is not None
            examples, metrics, body = self.judge(site, message)
        except RefusedError as error:
            self._refused(site, round, phase, error.code, str(error))
            self._refusals[site] = error
            return True
        total = time.monotonic() - question.asked
        trained = metrics.pop("seconds", 0.0)
        self.replies[site] = Reply(
            site=site, examples=examples, metrics=metrics, seconds=total, trained=trained, body=body
        )
        self._journal.append(
            events.AnswerReceived(
                run=self._run,
                round=round,
                phase=phase,
                site=site,
                examples=examples,
                metrics=metrics,
                seconds={
                    "total": round_to_ms(total),
                    "train": round_to_ms(trained),
                    "transfer": round_to_ms(max(0.0, total - trained)),
                },
            )
        )
        crash.point("coordinator.received", round)
        return True

    def _lost(self, site: str, question: _Question) -> bool:
        """Whether the site began anew, or Flower's message expired, since it was asked."""
        attached = self._presence.attached(site)
        anew, question.attached = attached != question.attached, attached
        last = question.ids[-1]
        return (anew and self._fleet.delivered(last)) or not self._fleet.knows(last)

    def _send(self, site: str, question: _Question) -> None:
        message = Message(
            question.content, self._fleet.node(site), question.kind, ttl=MESSAGE_SECONDS
        )
        question.ids.append(self._fleet.send(message))

    def _give_up(self, waiting: dict[str, _Question], round: int, phase: Phase) -> bool:
        enough = len(self.replies) >= self._needed
        if self._quorum.on_deadline == "wait":
            return False
        if self._quorum.on_deadline == "continue" and enough:
            for site in waiting:
                self._refused(
                    site, round, phase, "late",
                    f"no answer within {self._quorum.deadline_seconds:.0f} s; it may take part in "
                    "the next round.",
                )  # fmt: skip
            return True
        raise QuorumError(
            f"Round {round}, {phase}: no answer from {', '.join(waiting)} within "
            f"{self._quorum.deadline_seconds:.0f} s.",
            remedy="Check these sites with 'fedtui sites', then submit the run again.",
        )

    def _here(self, site: str) -> bool:
        return self._fleet.has(site) and not self._withdrawn(site)

    def _left(self, site: str, round: int, phase: Phase) -> None:
        if site not in self._gone:
            self._gone.add(site)
            if self._fleet.has(site):
                self._refused(site, round, phase, "withdrawn", "it withdrew its approval.")
            else:
                self._refused(
                    site, round, phase, "revoked", "it was suspended or taken off the roster."
                )

    def _why(self) -> str:
        """The first refusal of this exchange, or else why a site left, as the end of a sentence."""
        new = [site for site in self._causes if site not in self._gone]
        site = next(iter(new or self._causes), "")
        return f" ({site}: {self._causes[site].rstrip('.')})" if site else ""

    def _refused(self, site: str, round: int, phase: Phase, code: str, cause: str) -> None:
        self._causes.setdefault(site, cause)
        self._journal.append(
            events.AnswerRefused(
                run=self._run, round=round, phase=phase, site=site, code=code, cause=cause
            )
        )

    def node(self, site: str) -> int:
        """The node id of ``site`` in this Flower state."""
        return self._fleet.node(site)

    def site(self, node: int) -> str:
        """The site of a node id in this Flower state."""
        return self._fleet.site(node)

    # Flower's own interface, for its strategies.

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Ask as the messages say; their ConfigRecord names round and phase."""
        asked = list(messages)
        if not asked:
            return []
        config = asked[0].content["config"]
        contents = {self._fleet.site(m.metadata.dst_node_id): m.content for m in asked}
        phase: Any = config["phase"]
        self.ask(contents, asked[0].metadata.message_type, round=int(config["round"]), phase=phase)  # type: ignore[arg-type]
        return []  # the strategy takes the judged replies from ``replies``

    def get_node_ids(self) -> Iterable[int]:
        """Every site's node id."""
        return [self._fleet.node(site) for site in self._fleet.sites]

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Every site's node, by id."""
        return [NodeInfo(node_id=node) for node in self.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Store messages for their sites; returns their ids."""
        return [self._fleet.send(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Complete replies among ``message_ids``."""
        return [m for i in message_ids if (m := self._fleet.receive(i, self._flower_run))]

    def set_run(self, run: Run) -> None:
        """Flower sets the run of a ServerApp's grid; ours began its own."""

    @property
    def run(self) -> Run:
        """Flower's record of the run in progress."""
        return self._fleet.run(self._flower_run)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message of this run."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


def round_to_ms(seconds: float) -> float:
    """Seconds with three decimals, as the journal keeps them."""
    return round(seconds, 3)


def round_to_tenth(seconds: float) -> float:
    """Seconds with one decimal."""
    return round(seconds, 1)
