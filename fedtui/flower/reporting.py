"""What a site tells its coordinator once a second, meanwhile, and what it hears in return."""

from collections.abc import Callable, Iterator
from typing import Any

from fedtui import events, keys
from fedtui.flower import continuity
from fedtui.flower.belonging import Belonging
from fedtui.flower.consent import Consent
from fedtui.flower.link import Link
from fedtui.flower.release import Exit
from fedtui.flower.workbench import Workbench
from fedtui.journal import Journal
from fedtui.site import Home, Site
from fedtui.transport import disk_full

TIMEOUT_SECONDS = 6.0  # a cut link is named within 10 s, also while training


class Reports:
    """One thread sends them; others say what the next one tells.

    Args:
        boot: Of this process, so that the coordinator knows a new one.
        state: What the site does now, as JSON.
        trouble: What keeps it from its work, in words; empty if nothing does.
    """

    def __init__(
        self,
        home: Home,
        own: Site,
        journal: Journal,
        *,
        link: Link,
        exit: Exit,
        consent: Consent,
        bench: Workbench,
        belonging: Belonging,
        boot: str,
        state: Callable[[], dict[str, Any]],
        trouble: Callable[[], str],
    ) -> None:
        self._site, self._journal, self._boot = own, journal, boot
        # Not the journal of the link thread: this one tells that the other waits for the disk.
        self._news = Journal(home.journal, source="agent")
        self._link, self._exit, self._consent = link, exit, consent
        self._bench, self._belonging = bench, belonging
        self._state, self._trouble = state, trouble
        self._progress: events.TrainingProgressed | None = None  # for the next report
        self._before: events.TrainingProgressed | None = None
        self._ended = ""  # the run whose round this site has just finished
        self._told = journal.head()[0]  # the last record of our checks that others know
        self._branch: Any = None  # of the coordinator's journal, as far as it is followed here
        self._from: int | None = None  # where its new branch is to be read from

    def progressed(self, event: events.TrainingProgressed, *, private: bool) -> None:
        """Training went on."""
        told = self._exit.progress(event, before=self._before, private=private)
        self._before = event
        self._progress = told
        self._journal.append(told)  # of a coordinator's own site the others read this very record

    def over(self) -> None:
        """What was done is done, or is no more."""
        self._progress = None

    def round_ended(self, run: str) -> None:
        """The next report brings the journal's head, which peers will hold this site to."""
        self._ended = run

    def send(self) -> None:
        """Once.

        Raises:
            LinkError: it did not come through, or the coordinator's disk is full.
            RevokedError: this site is no member any more.
            OperatorError: a journal cannot be read or written; OSError likewise.
        """
        progress, self._progress = self._progress, None
        own = self._site.coordinates  # then the coordinator writes into this very journal
        run = self._ended
        body = {
            "boot": self._boot,
            "state": self._state(),
            "head": self._signed_head(run) if run and not own else None,
            "progress": events.to_fields(progress) if progress else None,
            "after": None if own else self._after(),
            "storage": bool(self._trouble()),
        }
        checked = self._journal.own(("LinkChecked",), self._told)
        if checked:
            body["checked"] = events.to_fields(checked[-1].event)
        answer = self._link.post("/fedtui/report", self._exit.words(body), timeout=TIMEOUT_SECONDS)
        self._consent.follow(answer.get("studies"))
        if self._ended == run:
            self._ended = ""
        if checked:
            self._told = checked[-1].seq
        if not own and (branch := answer.get("branch")) != self._branch:
            self._branch = branch
            self._from = continuity.turning(self._journal, branch)
            if self._from is not None:  # what came now is not what follows there
                return
        if news := list(_news(answer.get("news"))):
            self._from = None
            self._news.append_all(news)
            if self._bench.pid is None and any(self._concerns_us(event) for event, _ in news):
                self._bench.warm()  # the work follows
        if not own and answer.get("storage") is True:
            raise disk_full()

    def _after(self) -> int:
        """Up to where the coordinator's news is known here."""
        return self._journal.last_origin() if self._from is None else self._from

    def _signed_head(self, run: str) -> dict[str, Any]:
        at, head = self._journal.head()
        key = self._belonging.key
        signature = keys.sign_head(key, site=self._site.name, at=at, head=head.hex())
        public = keys.public_bytes(key.public_key()).decode()
        return {"run": run, "at": at, "head": head.hex(), "key": public, "signature": signature}

    def _concerns_us(self, event: events.Event) -> bool:
        asked = (events.RunSubmitted, events.PhaseStarted)
        return isinstance(event, asked) and self._site.name in event.sites


def _news(items: Any) -> Iterator[tuple[events.Event, int]]:
    """The coordinator's news with its position there, without what this fedtui does not know."""
    for item in items if isinstance(items, list) else ():
        try:
            yield events.accept(item["event"]), int(item["seq"])
        except (ValueError, KeyError, TypeError):  # e.g. a kind of event from a newer fedtui
            continue
