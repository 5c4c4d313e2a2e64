"""Whether a journal is still the one that peers saw, asked whenever a site attaches.

At each round's end a journal's head is signed and kept by its peers. A home put back from an
older copy lacks such a head: a restored backup says so itself, a virtual machine's snapshot or a
folder copied back does not. Its site then waits for a human: what it released since, and the
privacy that it spent, stand in no journal there. A coordinator goes on: it forgot only rounds,
and rounds are computed again.
"""

from collections.abc import Callable
from typing import Any

from fedtui import events, keys
from fedtui.errors import TrustError
from fedtui.events import HeadWitnessed, HomeRestored, JournalRolledBack
from fedtui.journal import Journal
from fedtui.keys import PublicKey
from fedtui.record import Record

MARKS = ("HomeRestored", "JournalRolledBack")
_TOLD_MARKS = 5  # the newest
_LOOKED_AT = 5000  # newest heads in a journal among which every site's last one is looked for
_CLOCKS_SECONDS = 60.0  # two hosts' clocks differ by less, or requests are refused


def newest_heads(book: Journal) -> dict[str, Record]:
    """The newest signed head of every site that this journal keeps, by the site's name."""
    found: dict[str, Record] = {}
    for record in book.newest(("HeadWitnessed",), limit=_LOOKED_AT):
        if isinstance(record.event, HeadWitnessed):
            found.setdefault(record.event.site, record)
    return found


def told(record: Record) -> dict[str, Any]:
    """A kept head as it is sent: the event, and when it was kept here."""
    return {"head": events.to_fields(record.event), "time": record.time}


class Continuity:
    """One home's journal against the heads that others keep of it."""

    def __init__(self, book: Journal, *, site: str, key: Callable[[], PublicKey]) -> None:
        self._book, self._site, self._key = book, site, key
        self._branch = [_mark(record) for record in reversed(self._marks()[:_TOLD_MARKS])]

    def compare(self, kept: Any) -> JournalRolledBack | None:
        """What a kept head, as ``told``, says of this journal; None when it is in it.

        A loss is journaled, once. Whatever this site did not sign is no evidence.
        """
        if not isinstance(kept, dict):
            return None
        key = self._key()
        event = events.accept(kept.get("head"))
        if (
            not isinstance(event, HeadWitnessed)
            or event.site != self._site
            or event.key.encode() != keys.public_bytes(key)
            or not keys.head_is_signed(
                key, event.signature, site=event.site, at=event.at, head=event.head
            )
        ):
            return None
        there = self._book.read(event.at - 1, limit=1)
        if there and there[0].hash.hex() == event.head:
            return None
        return self._note(witnessed=event.at, head=event.head)

    def shorter_than(self, position: int) -> JournalRolledBack | None:
        """The same of a position only, which a peer has news up to."""
        if position <= self._book.head()[0]:
            return None
        return self._note(witnessed=position, head="")

    def check(self, kept: Any) -> None:
        """Let a site go on only with a whole journal, or with a loss that its operator knows of.

        Raises:
            TrustError: an older copy took the journal's place, and nobody said so.
        """
        lost = self.compare(kept)
        if lost is None or self._known(float(kept["time"])):
            return
        raise TrustError(
            lost.sentence[0].upper() + lost.sentence[1:].rstrip("."),
            remedy="What it released and the privacy it spent since are not in this journal, so it "
            "takes no work. Put the newest home back, or, if this one is meant, 'fedtui restore "
            "--accept'.",
        )

    def history(self) -> list[dict[str, Any]]:
        """This site's newest marks as fields, for its peers."""
        return [events.to_fields(record.event) for record in self._marks()[:_TOLD_MARKS]]

    def learn(self, fields: list[Any], *, site: str) -> list[Record]:
        """Journal what another site says of its own journal, what is new of it."""
        known = [record.event for record in self._book.newest(MARKS, limit=100)]
        fresh = []
        for said in fields[:_TOLD_MARKS]:
            event = events.accept(said)
            if isinstance(event, HomeRestored | JournalRolledBack) and event.site == site:
                fresh += [event] if event not in known else []
        return [self._book.append(event) for event in reversed(fresh)]

    def branch(self) -> list[dict[str, Any]]:
        """Where this journal began anew, oldest first, for those who follow it by position."""
        return self._branch

    def _marks(self) -> list[Record]:
        found = self._book.newest(MARKS, limit=100)
        return [r for r in found if r.origin == 0 and getattr(r.event, "site", "") == self._site]

    def _note(self, *, witnessed: int, head: str) -> JournalRolledBack:
        for record in self._marks():
            event = record.event
            if isinstance(event, JournalRolledBack) and (event.witnessed, event.head) == (
                witnessed,
                head,
            ):
                return event
        at = self._book.head()[0]
        event = JournalRolledBack(site=self._site, at=at, witnessed=witnessed, head=head)
        self._branch = [*self._branch, _mark(self._book.append(event))][-_TOLD_MARKS:]
        return event

    def _known(self, moment: float) -> bool:
        """Whether an operator restored this home, or accepted it, after ``moment``."""
        return any(
            isinstance(record.event, HomeRestored) and record.time > moment - _CLOCKS_SECONDS
            for record in self._marks()
        )


def turning(book: Journal, branch: Any) -> int | None:
    """After which position of a coordinator's journal that began anew to go on reading it.

    None where the order of its news leads there by itself, or has led already.
    """
    known = [(r.origin, r.event) for r in book.newest(MARKS, limit=100)]
    for mark in branch if isinstance(branch, list) else ():
        seq = int(mark["seq"])
        if (seq, events.accept(mark["event"])) not in known:
            return seq - 1 if book.last_origin() >= seq else None
    return None


def _mark(record: Record) -> dict[str, Any]:
    return {"seq": record.seq, "event": events.to_fields(record.event)}
