"""This site's consent to a run: asked at every message, of documents that this site checked itself.

What the coordinator says of the other sites' approvals counts for nothing here: their signatures
came as documents, and each is verified against the node key that this site first saw. The verdict
is kept until a document comes, the day changes or the run is another, so that rounds stay fast.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flwr.app import Message

from fedtui import accesses, agreement, events, keys, register, site
from fedtui.errors import NetworkError, OperatorError, TrustError, from_json
from fedtui.flower.assignment import Assignment
from fedtui.flower.link import Link, RevokedError
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.study import Study
from fedtui.transport import LinkError

Words = Callable[[dict[str, Any]], dict[str, Any]]
_KEPT_VERDICTS = 8
_MOST = 5000  # documents; a federation makes some hundreds
_ACTIONS = {
    "validate": "validation",
    "exchange": "validation",
    "audit": "leakage audit",
    "judge": "judging a model from elsewhere",
}


class Consent:
    """One site's: holds messages to what its people signed, and keeps in step with the others.

    Args:
        authority: The federation's certificate, PEM.
        words: The site's exit for what it says of itself.
    """

    def __init__(
        self, home: Home, journal: Journal, link: Link, *, name: str, authority: str, words: Words
    ) -> None:
        self._home, self._journal, self._link, self._name = home, journal, link, name
        self._authority, self._words = authority, words
        self._register = register.Register(home.studies)
        self._verdicts: dict[Any, None] = {}
        self._accessed: set[tuple[str, str, str]] = set()
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self.version = ""  # of the coordinator's documents, as last taken over

    def guard(self, read: Callable[[Message], Assignment]) -> Callable[[Message], Assignment]:
        """``read``, which then also refuses what this site did not consent to."""

        def guarded(message: Message) -> Assignment:
            task = read(message)
            self.check(task.study, task.fingerprint, starting=task.key.phase == "prepare")
            return task

        return guarded

    def check(self, study: Study, fingerprint: str, *, starting: bool) -> None:
        """Refuse a message of a study that this site, or another, did not agree to.

        Raises:
            TrustError: it expired, names no approvers though the data here are not public, wants
                stock peers on such data, or an approval is not there; names the site.
        """
        source = site.load(self._home).data.get(study.data)
        public = source is None or source.unrestricted  # without a source it is refused later
        if study.interop and not public:
            raise TrustError(
                f"Study {study.id} is open to stock Flower peers, and {study.data} here is not "
                "public.",
                remedy=f"Ask for a study without interop; or, if everybody may see the data, "
                f"write public = true under [data.{study.data}] in site.toml.",
            )
        if not study.approvers and not public:
            raise TrustError(
                f"Study {study.id} names no approvers, and {study.data} here is not public.",
                remedy=f"Name a person for each site under [approvers]; or, if everybody may see "
                f"the data, write public = true under [data.{study.data}] in site.toml.",
            )
        today = datetime.now(UTC).date()
        key = (fingerprint, self._register.stamp, today, starting)
        if key in self._verdicts:
            return
        try:
            self._require(study, fingerprint, starting)
        except TrustError:
            if not study.approvers or not self._caught_up(since=key[1]):
                raise
            self._require(study, fingerprint, starting)
            key = (fingerprint, self._register.stamp, today, starting)
        while len(self._verdicts) >= _KEPT_VERDICTS:
            self._verdicts.pop(next(iter(self._verdicts)))
        self._verdicts[key] = None

    def synchronise(self) -> dict[str, Any]:
        """Send the coordinator what this site decided, and take over what the others did.

        Raises:
            NetworkError: the coordinator is not reached now; it is tried again by itself.
            TrustError: it refuses a document of this site, or its list of keys does not hold.
        """
        try:
            with self._lock:
                return self._synchronise()
        except LinkError as error:
            raise NetworkError(
                f"The coordinator is not reached: {error}.",
                remedy="Nothing is lost: it is sent as soon as the link is up. " + error.remedy,
            ) from error

    def follow(self, version: Any) -> None:
        """Take over what is new, if the coordinator's ``version`` says so; never raises."""
        if not isinstance(version, str):
            return
        if version == self.version and not self._register.unsent():
            return
        try:
            self.synchronise()
        except NetworkError:  # again in a second
            return
        except RevokedError:  # the agent's matter
            raise
        except OperatorError as error:
            self._refuse(str(error))
            self.version = version  # once: what does not hold now will not hold in a second

    def accessed(self, run: str, study: Study, fingerprint: str, read: dict[str, Any]) -> None:
        """Journal that a run reads patients' data: once a run, action, cohort and process.

        Args:
            read: ``cohort``, its name, ``patients``, how many, and ``action``, the trainer's order.
        """
        action = _ACTIONS.get(str(read["action"]), "training")
        if (run, action, read["cohort"]) in self._accessed:
            return
        self._accessed.add((run, action, read["cohort"]))
        here = site.load(self._home)
        self._journal.append(
            accesses.of(
                self._journal,
                study,
                fingerprint,
                read,
                run=run,
                action=action,
                unit=self._name,
                minimum=here.limits.minimum_cell,
            )
        )

    def _require(self, study: Study, fingerprint: str, starting: bool) -> None:
        found = self._register.standings(study, fingerprint) if study.approvers else {}
        today = datetime.now(UTC).date()
        agreement.require(study, found, today=today, starting=starting, site=self._name)

    def _caught_up(self, *, since: Any) -> bool:
        """Whether documents came that may change a verdict of the stamp ``since``.

        Now, or by another thread between the verdict and this question.
        """
        try:
            self.synchronise()
        except OperatorError:
            return False
        return bool(self._register.stamp != since)

    def _synchronise(self) -> dict[str, Any]:
        own = keys.load_private(self._home.keys / "node.key").public_key()
        self._register.own(self._name, own)
        troubles: list[OperatorError] = []
        sent, unsent = 0, self._register.unsent()
        for id in unsent:
            answer = self._ask({"document": self._register.data(id).hex()})
            if "refused" in answer:
                self._register.drop(id)
                troubles.append(from_json(answer["refused"]))
            else:
                self._register.sent(id)
                sent += 1
        taken, more = 0, True
        while more:
            answer = self._ask({"have": sorted(self._register.ids())})
            try:
                documents = [bytes.fromhex(text) for text in answer["documents"]]
                directory = bytes.fromhex(answer["directory"])
                more, version = bool(answer["more"]) and bool(documents), str(answer["version"])
            except (KeyError, ValueError, TypeError) as error:
                raise TrustError(
                    "The coordinator's answer about studies cannot be read.",
                    remedy="Check that it runs the same fedtui.",
                ) from error
            for data in documents:
                agreement.read(data)
                self._register.add(data)
            taken += len(documents)
            if taken and len(self._register.ids()) > _MOST:
                raise TrustError(
                    f"The coordinator sends more than {_MOST} documents about studies.",
                    remedy="Call its operator; nothing more is taken over.",
                )
        try:
            self._register.direct(directory, authority=self._authority)
        except TrustError as error:  # of one site; the others' documents are taken over
            troubles.append(error)
        self.version = version
        if troubles:
            raise troubles[0]
        return {"sent": sent, "taken": taken}

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._link.post("/fedtui/studies", self._words(body))

    def _refuse(self, cause: str) -> None:
        if cause not in self._told:
            self._told.add(cause)
            self._journal.append(events.DocumentRefused(cause=cause))
