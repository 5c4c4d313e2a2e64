"""Whether the coordinator knows this site's key: a signed echo, which changes nothing there."""

import http.client
import json
from collections.abc import Iterator

from fedtui import keys, site
from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._wire import Answer
from fedtui.errors import OperatorError

NEEDS = ("hello",)
AFTER = ("config", "version")
NETWORK = True
DEEP = False

_LIMIT = "the signed echo comes back (fedtui)"
_NAMES = {
    "stranger": (
        "key-unknown",
        "The coordinator's roster has no site of this name.",
        "Ask the coordinator's operator for an invitation, then 'fedtui join CODE'.",
    ),
    "forged": (
        "key-differs",
        "The roster holds another key under this site's name: this home was made anew, or the "
        "name is another hospital's.",
        "Compare the key's fingerprint with the coordinator's operator ('fedtui sites' there).",
    ),
    "pending": (
        "key-pending",
        "The coordinator's operator has not confirmed this site yet.",
        "Read the six words of 'fedtui join' to that operator.",
    ),
    "suspended": (
        "key-suspended",
        "The coordinator has suspended this site.",
        "Call the coordinator's operator.",
    ),
    "revoked": (
        "key-revoked",
        "The coordinator has revoked this site's key.",
        "Call the coordinator's operator before anything else.",
    ),
    "left": (
        "key-left",
        "This site left the federation.",
        "To come back, ask the coordinator's operator for an invitation, then 'fedtui join' it.",
    ),
    "stale": (
        "key-clock",
        "The request was refused as too old or too new: the clocks differ.",
        "Set this host's clock; see the check 'clock'.",
    ),
}


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Sign one small request with the site's own key."""
    session, home = inquiry.session, inquiry.home
    if home is None or session is None or not inquiry.dialled.authority:
        yield Finding(
            state=State.SKIP,
            code="not-joined",
            meaning="Not measured: only a site that has joined can sign.",
            remedy="Run the check again after 'fedtui join'.",
        )
        return
    try:
        own, key = site.load(home), keys.load_private(home.keys / "node.key")
    except OperatorError as error:
        yield Finding(
            state=State.SKIP,
            code="needs",
            meaning=f"Not measured: needs config ({error})",
            remedy=error.remedy,
        )
        return
    body = json.dumps({"bytes": 0}).encode()
    try:
        answer = session.request(
            "POST", _wire.ECHO, body=body, headers=_wire.signed(key, site=own.name, body=body)
        )
    except (OSError, http.client.HTTPException) as error:
        yield Finding(
            state=State.UNKNOWN,
            code="echo-none",
            measured=type(error).__name__,
            meaning="No answer came to the signed request.",
            remedy="Run the check again.",
        )
        return
    inquiry.round_trips.append(answer.seconds)
    inquiry.echo = answer.status == 200
    yield _judged(own.name, answer)


def _judged(name: str, answer: Answer) -> Finding:
    if answer.status == 200 and answer.document is not None:
        return Finding(
            state=State.OK,
            code="key-ok",
            measured=f"{answer.seconds * 1000:.0f} ms",
            value=round(answer.seconds, 4),
            unit="s",
            threshold=_LIMIT,
            meaning=f"The coordinator knows the key of {name}.",
        )
    if answer.status == 404:
        return Finding(
            state=State.SKIP,
            code="echo-missing",
            measured="HTTP 404",
            meaning="Not measured: this coordinator has no echo; its fedtui is older.",
            remedy="Ask its operator to upgrade.",
        )
    refused = str((answer.document or {}).get("error", ""))
    if answer.status == 403 and refused in _NAMES:
        code, meaning, remedy = _NAMES[refused]
    elif answer.status == 403 and refused:
        code, meaning = "key-refused", f"The coordinator refuses this site: {refused}."
        remedy = str((answer.document or {}).get("remedy", "Call the coordinator's operator."))
    else:
        return Finding(
            state=State.UNKNOWN,
            code="echo-foreign",
            measured=f"HTTP {answer.status}",
            threshold=_LIMIT,
            meaning=f"HTTP {answer.status} came back, which the coordinator does not send: "
            "something in between answered the signed request.",
            remedy="Ask the network team what filters requests to this address.",
        )
    return Finding(
        state=State.FAIL,
        code=code,
        measured=refused,
        threshold=_LIMIT,
        meaning=meaning,
        remedy=remedy,
        exit_code=5,
    )
