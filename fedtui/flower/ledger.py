"""What of its records' privacy this site has spent: counted from its own journal, never trusted.

Every question under record-level privacy that is answered costs; the same one asked again does
not, since its stored answer, or the same noise, comes back. A coordinator that asked a round with
another model, or one round more, would learn more than was agreed: it is refused.
"""

from fedtui import events
from fedtui.errors import PrivacyError
from fedtui.flower.work import Key
from fedtui.journal import Journal
from fedtui.spending import spending
from fedtui.study import Study


class Ledger:
    """The spending of one site.

    Args:
        limit: Most epsilon over all runs on one data set, or on one folder under whatever name, by
            plain addition; None for no limit.
    """

    def __init__(self, journal: Journal, *, limit: float | None) -> None:
        self._journal, self._limit = journal, limit

    def admit(self, key: Key, study: Study, question: str, *, place: str, wanted: float) -> int:
        """How many other questions of this run were answered before.

        Args:
            place: Of the data, as the trainer names it; empty where they come with fedtui.
            wanted: Epsilon of the whole run, as its plan spends it.

        Raises:
            PrivacyError: as many as the study has rounds, or the site's own limit is reached.
        """
        spent = self._spent()
        answered = [e for e in spent if e.run == key.run and e.question != question]
        if len(answered) >= study.rounds:
            raise PrivacyError(
                f"This site has answered all {study.rounds} rounds that the study pays for.",
                remedy="Nothing more was sent. Ask the coordinator's operator why it asked again.",
            )
        others = spending(spent, study.data, place=place, without=key.run)
        if self._limit is not None and others.total + wanted > self._limit:
            raise PrivacyError(
                f"Epsilon {others.total:.3g} of this site's {self._limit:g} is spent on "
                f"'{study.data}', and the study wants {wanted:.3g} more.",
                remedy="Raise limits.epsilon in site.toml if that is decided, or decline.",
            )
        if self._limit is None and others.by_run and not self._warned(key.run):
            self._journal.append(
                events.PrivacyUnlimited(
                    run=key.run,
                    data=study.data,
                    runs=len(others.by_run),
                    epsilon=round(others.total, 4),
                    wanted=wanted,
                )
            )
        return len(answered)

    def counted(self, run: str) -> int | None:
        """For how many training rows the privacy of ``run`` is planned; None before it spends.

        Patients opt out, and others come. If each round were planned for those of the day, the
        rounds would differ, and what they cost together would be no round's plan.
        """
        found = [event.counted for event in self._spent() if event.run == run]
        return found[0] if found and found[0] else None

    def spend(
        self,
        key: Key,
        study: Study,
        question: str,
        *,
        place: str,
        epsilon: float,
        delta: float,
        tight: float | None,
        counted: int,
    ) -> None:
        """Write down what the answer to ``question`` costs, before it leaves.

        Never less than the run had cost before.

        Args:
            counted: For how many training rows the run's privacy is planned.
        """
        earlier = [event for event in self._spent() if event.run == key.run]
        if all(event.question != question for event in earlier):
            epsilon = max([epsilon, *(event.epsilon for event in earlier)])
            self._journal.append(
                events.PrivacySpent(
                    run=key.run,
                    round=key.round,
                    data=study.data,
                    question=question,
                    epsilon=round(epsilon, 4),
                    delta=delta,
                    place=place,
                    tight=None if tight is None else round(tight, 4),
                    counted=counted,
                )
            )

    def _warned(self, run: str) -> bool:
        known = (record.event for record in self._journal.own(("PrivacyUnlimited",)))
        return any(getattr(event, "run", "") == run for event in known)

    def _spent(self) -> list[events.PrivacySpent]:
        found = (record.event for record in self._journal.own(("PrivacySpent",)))
        return [event for event in found if isinstance(event, events.PrivacySpent)]
