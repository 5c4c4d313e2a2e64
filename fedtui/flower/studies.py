"""The coordinator's part in agreeing on a study: keeps what sites sign, checks it, passes it on.

It decides nothing. Every site checks every document itself; what is refused here is refused early,
by name, so that the operator who sent it hears why.
"""

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from fedtui import agreement, events, keys, roster
from fedtui import study as studies
from fedtui.agreement import Decision, Directory, Document, Proposal, Succession
from fedtui.errors import OperatorError, TrustError, UsageError
from fedtui.flower import fitting
from fedtui.journal import Journal
from fedtui.keys import PublicKey
from fedtui.register import Register
from fedtui.site import Home
from fedtui.study import Study

_MOST = 1000  # documents of a site, 64 kB each at the most: none may take all of the disk
_AT_ONCE = 50  # documents in one answer
_AHEAD_SECONDS = 300.0  # a site's clock may be ahead; phase 0 warns of far less


class Studies:
    """The federation's studies as one coordinator process has them."""

    def __init__(self, home: Home, journal: Journal, *, name: str) -> None:
        self._home, self._journal, self._name = home, journal, name
        self._register = Register(home.register)
        self._key = keys.load_private(home.keys / "ca.key")
        self._lock = threading.Lock()
        self._directory: tuple[dict[str, str], str] = ({}, "")
        self._seen: tuple[tuple[int, int], dict[str, str]] = ((-1, -1), {})
        self._withdrawn: tuple[Any, set[str]] = (None, set())

    @property
    def version(self) -> str:
        """Changes with every document and every key: a site asks for news when it does."""
        nodes = json.dumps(self._nodes(), sort_keys=True)
        count = len(self._register.ids())
        return f"{count}-{hashlib.sha256(nodes.encode()).hexdigest()[:16]}"

    def news(self, have: list[str]) -> dict[str, Any]:
        """What a site that has the documents ``have`` lacks, and who has which key."""
        missing = sorted(self._register.ids() - set(have))
        return {
            "version": self.version,
            "directory": self.directory(),
            "documents": [self._register.data(id).hex() for id in missing[:_AT_ONCE]],
            "more": len(missing) > _AT_ONCE,
        }

    def directory(self) -> str:
        """Every site's node key under the authority's signature, hex."""
        nodes = self._nodes()
        with self._lock:
            if self._directory[0] != nodes:
                body = Directory(coordinator=self._name, sites=nodes, time=_now())
                self._directory = (nodes, agreement.direct(body, key=self._key).hex())
            return self._directory[1]

    def accept(self, site: str, data: bytes) -> dict[str, Any]:
        """Keep a document that ``site`` sent; all sites hear of it.

        Raises:
            TrustError: it does not hold, or is not that site's own.
            UsageError: it is about what is not known here.
        """
        document = agreement.read(data)
        with self._lock:
            if document.id in self._register.ids():
                return {"id": document.id}  # asked again: the answer was lost
            theirs = [d for d in self._register.documents() if getattr(d.body, "site", "") == site]
            if len(theirs) >= _MOST:
                raise UsageError(
                    f"The coordinator keeps no more than {_MOST} documents of a site.",
                    remedy="Ask its operator to move old ones out of its home's register folder.",
                )
            event = self._judge(site, document)
            self._register.add(data)
            if event is not None:
                self._journal.append(event)
        return {"id": document.id}

    def answer(self, site: str, body: dict[str, Any]) -> dict[str, Any]:
        """A site's request: a document to keep, or what it lacks."""
        if "document" in body:
            try:
                return self.accept(site, bytes.fromhex(str(body["document"])))
            except OperatorError as error:
                return {"refused": error.to_json()}
        return self.news([str(id) for id in body["have"]])

    def has_withdrawn(self, study: Study, site: str) -> bool:
        """Whether ``site`` takes part in runs of exactly this study no more."""
        if not study.approvers:
            return False
        key = (studies.fingerprint(study), self._register.stamp)
        if self._withdrawn[0] != key:
            found = self._standings(study).items()
            gone = {name for name, standing in found if standing.said in agreement.AWAY}
            self._withdrawn = (key, gone)
        return site in self._withdrawn[1]

    def require(self, study: Study) -> None:
        """Refuse to start a run of a study that names approvers, unless all of them agreed.

        Raises:
            TrustError: it expired, or an approval is not there; names the site.
        """
        found = self._standings(study) if study.approvers else {}
        mine = studies.fingerprint(study)
        proposed = any(entry.fingerprint == mine for entry in self._register.entries())
        agreement.require(study, found, today=_today(), starting=True, proposed=proposed)

    def _standings(self, study: Study) -> dict[str, agreement.Standing]:
        self._nodes()
        return self._register.standings(study, studies.fingerprint(study))

    def _judge(self, site: str, document: Document) -> events.Event | None:
        body = document.body
        if isinstance(body, Succession) and body.site == site:
            if body.new.encode() != self._nodes().get(site, "").encode():
                raise TrustError(
                    f"The key of {site} is another one on the roster.", remedy="Call the operator."
                )
            return None  # the change itself is journaled where it was made
        node_keys = self._register.keys().get(site, ())
        if isinstance(body, Proposal):
            return self._proposed(site, document, body, node_keys)
        if not isinstance(body, Decision):
            raise TrustError(
                "Only proposals and decisions are kept.", remedy="Use fedtui to send one."
            )
        if _seconds(body.time) > time.time() + _AHEAD_SECONDS:
            raise TrustError(
                f"The decision of {site} is of {body.time}, which is still to come.",
                remedy="Set that host's clock, and decide again.",
            )
        entry = next(
            (e for e in self._register.entries() if e.fingerprint == body.fingerprint), None
        )
        if entry is None:
            raise UsageError(
                f"No study with fingerprint {body.fingerprint[:12]} was proposed here.",
                remedy="Propose it first: 'fedtui study propose FILE'.",
            )
        agreement.check(
            document,
            study=entry.study,
            fingerprint=entry.fingerprint,
            site=site,
            node_keys=node_keys,
        )
        if site not in entry.study.sites:
            raise TrustError(
                f"Study {entry.study.id} does not name {site}.", remedy="Nothing to do."
            )
        if body.serial < self._register.serial(body.fingerprint, site):
            raise TrustError(
                f"The decision of {site} is older than one that is here.",
                remedy="Decide anew: 'fedtui study approve'.",
            )
        return events.StudyDecided(
            study=body.study,
            fingerprint=body.fingerprint,
            site=site,
            word=body.word,
            person=body.person,
            reason=body.reason,
        )

    def _proposed(
        self, site: str, document: Document, body: Proposal, node_keys: Sequence[PublicKey]
    ) -> events.Event:
        if body.site != site or not agreement.vouched(document, *node_keys):
            raise TrustError(
                f"The proposal is not signed by {site}.", remedy="Propose it from that site."
            )
        study = studies.parse(body.study.encode())
        if studies.fingerprint(study) != body.fingerprint:
            raise TrustError(
                f"Study {study.id} has another fingerprint at the coordinator.",
                remedy="Bring both to the same fedtui: protocol or numeric code differs.",
            )
        fitting.check_sites(self._home, study, self._nodes())
        known = self._register.entries()
        same = next((e for e in known if e.fingerprint == body.fingerprint), None)
        versions = {e.version for e in known if e.study.id.lower() == study.id.lower()}
        return events.StudyProposed(
            study=study.id,
            fingerprint=body.fingerprint,
            site=site,
            version=same.version if same else len(versions) + 1,
        )

    def _nodes(self) -> dict[str, str]:
        stamp = Register(self._home.roster).stamp
        if self._seen[0] != stamp:
            enrolled = (e for e in roster.entries(self._home) if e.standing == "enrolled")
            self._seen = (stamp, {e.site: e.key.decode("ascii") for e in enrolled})
            for name, pem in self._seen[1].items():  # the roster is what counts at its keeper
                self._register.own(name, keys.load_public(pem.encode(), name=f"the key of {name}"))
        return self._seen[1]


def _seconds(moment: str) -> float:
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _today() -> date:
    return datetime.now(UTC).date()
