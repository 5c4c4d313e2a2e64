"""Where a study stands: what each site decided, and whether a run of it may start or go on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from fedtui import persons
from fedtui import study as studies
from fedtui.agreement._documents import Decision, Document, to_sign, vouched
from fedtui.errors import TrustError
from fedtui.keys import PublicKey
from fedtui.study import Study

Said = Literal["missing", "approved", "declined", "withdrawn"]
State = Literal["proposed", "approved", "declined", "withdrawn", "expired"]
AWAY: tuple[Said, ...] = ("withdrawn", "declined")  # takes part in a run no more
_SAID: dict[str, Said] = {"approve": "approved", "decline": "declined", "withdraw": "withdrawn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One site's last decision that holds.

    Attributes:
        refused: Why a document in that site's name does not hold, as a clause; the last such.
    """

    site: str
    said: Said = "missing"
    person: str = ""
    time: str = ""
    reason: str = ""
    serial: int = 0
    refused: str = ""


def check(
    document: Document, *, study: Study, fingerprint: str, site: str, node_keys: Sequence[PublicKey]
) -> Decision:
    """The decision in ``document``, if it is that site's own on exactly this study.

    Args:
        node_keys: The site's, one after the other; none where nobody told them here.

    Raises:
        TrustError: naming what does not hold.
    """
    if flaw := _flaw(document, study, fingerprint, site, node_keys):
        raise TrustError(
            f"The decision of {site} on study {study.id} does not hold: {flaw}.",
            remedy="Have that site decide on this very version: 'fedtui study approve'.",
        )
    assert isinstance(document.body, Decision)
    return document.body


def _flaw(
    document: Document, study: Study, fingerprint: str, site: str, node_keys: Sequence[PublicKey]
) -> str:
    decision = document.body
    if not isinstance(decision, Decision):
        return "it is none"
    if decision.study != study.id:
        return f"it is on another study, {decision.study}"
    if decision.site != site:
        return f"it is of another site, {decision.site}"
    if decision.protocol != studies.PROTOCOL:
        return f"it is under protocol {decision.protocol}, and here is {studies.PROTOCOL}"
    if decision.code != studies.numeric_code():
        return f"the numeric code of {site} is not the one here"
    if decision.fingerprint != fingerprint:
        return f"it is on another version, {decision.fingerprint[:12]}, not {fingerprint[:12]}"
    if not node_keys:
        return f"the key of {site} is not known here"
    alone = decision.word == "withdraw" and not (decision.person or document.second)
    if not alone and not persons.is_signed(decision.key, document.second, to_sign(decision)):
        return f"the signature is not that of {decision.person or 'any person'}"
    if not vouched(document, *node_keys):
        return f"{site} does not vouch for the key that signed it"
    named = study.approvers.get(site, decision.person)
    if decision.word == "approve" and decision.person != named:
        return f"{decision.person} signed it, and the study names {named} for {site}"
    return ""


def standings(
    study: Study,
    fingerprint: str,
    documents: Iterable[Document],
    keys: Mapping[str, Sequence[PublicKey]],
) -> dict[str, Standing]:
    """What each site of ``study`` decided last, by name, out of all ``documents``.

    A document that does not hold decides nothing; that there was one is told.
    """
    found = {site: Standing(site=site) for site in study.sites}
    for document in documents:
        decision = document.body
        if not isinstance(decision, Decision) or decision.site not in found:
            continue
        if decision.study != study.id or decision.fingerprint != fingerprint:
            continue  # of another version, where it has its place
        site = decision.site
        before = found[site]
        if flaw := _flaw(document, study, fingerprint, site, keys.get(site, ())):
            found[site] = replace(before, refused=flaw)
            continue
        if decision.serial > before.serial:
            found[site] = Standing(
                site=site,
                said=_SAID[decision.word],
                person=decision.person,
                time=decision.time,
                reason=decision.reason,
                serial=decision.serial,
                refused=before.refused,
            )
    return found


def state(study: Study, found: Mapping[str, Standing], *, today: date) -> State:
    """The study in one word."""
    said = {standing.said for standing in found.values()}
    if "declined" in said:
        return "declined"
    if "withdrawn" in said:
        return "withdrawn"
    if study.expired(today):
        return "expired"
    return "approved" if said <= {"approved"} else "proposed"


def require(
    study: Study,
    found: Mapping[str, Standing],
    *,
    today: date,
    starting: bool,
    site: str = "",
    proposed: bool = True,
) -> None:
    """Let a run of ``study`` start, or go on, only if its sites agreed to it.

    Args:
        starting: A start needs every site. A run under way goes on without a site that has
            withdrawn, or declined after all, as the quorum that all agreed on allows.
        site: Who asks; its own refusal ends its part whatever the quorum.
        proposed: Whether anybody put it to the sites.

    Raises:
        TrustError: it expired, or naming the sites whose approval is not there.
    """
    if study.expired(today):
        raise TrustError(
            f"Study {study.id} expired on {study.expires}.",
            remedy="Propose it anew with a later date.",
        )
    for name, standing in found.items():
        if standing.said == "declined" and (starting or name == site):
            raise TrustError(
                f"{name} declined study {study.id}: {standing.reason or 'no reason given'}.",
                remedy="Talk to that site, and propose a version that it can approve.",
            )
    gone = [name for name, standing in found.items() if standing.said in AWAY]
    left = len(found) - len(gone)
    if gone and (starting or site in gone or left < study.quorum.minimum_sites):
        reasons = "; ".join(
            f"{name} withdrew its approval of study {study.id}"
            + (f": {found[name].reason}" if found[name].reason else "")
            for name in gone
        )
        raise TrustError(
            f"{reasons}.", remedy="Talk to that site; it can approve again, or the others go on."
        )
    if missing := [name for name, standing in found.items() if standing.said == "missing"]:
        lacking = f"Study {study.id} lacks the approval of {', '.join(missing)}"
        if not proposed:
            raise TrustError(
                f"{lacking}: this version of it was not proposed.",
                remedy="First 'fedtui study propose FILE'; then its sites can approve it.",
            )
        flaws = [f"{name}'s: {found[name].refused}" for name in missing if found[name].refused]
        if flaws:
            lacking += f"; one does not hold, {'; '.join(flaws)}"
        people = ", ".join(f"{study.approvers.get(name, name)} ({name})" for name in missing)
        raise TrustError(
            f"{lacking}.",
            remedy=f"Ask {people} for 'fedtui study approve {study.id}' there.",
        )
