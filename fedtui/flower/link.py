"""A site's signed requests to the coordinator's ``/fedtui/`` routes.

What the coordinator answers without the federation's signature is trouble that may pass, whatever
it says: anything in between could have said it. Only a signed statement ends a membership.
"""

import json
import ssl
import threading
from datetime import UTC, datetime
from typing import Any, Self

import httpx

from fedtui import __version__, keys
from fedtui.errors import TrustError
from fedtui.keys import PrivateKey
from fedtui.site import Membership
from fedtui.study import PROTOCOL
from fedtui.transport import TIMEOUT, LinkError, classify, client, drop, pinned

_TAKEN_OFF = "The coordinator took this site off its roster"
_CALL = "Call the coordinator's operator."
_REFUSALS = {
    "pending": (
        "the coordinator's operator has not confirmed this site yet",
        "Read the six words of 'fedtui join' to the coordinator's operator.",
        True,
    ),
    "suspended": ("the coordinator has suspended this site", _CALL, True),
    "revoked": ("the coordinator says that it revoked this site, without proof", _CALL, False),
    "left": ("the coordinator says that this site left, without proof", _CALL, False),
    "stranger": (
        "this site is not on the coordinator's roster",
        "Ask its operator for an invitation.",
        False,
    ),
    "forged": (
        "the coordinator knows this site by another key",
        "Ask its operator for an invitation.",
        False,
    ),
    "stale": (
        "the clocks differ by more than a minute",
        "Set this host's clock (chrony or systemd-timesyncd).",
        False,
    ),
    "replayed": ("the same request arrived twice", "None.", True),
    "unsigned": ("our signature was lost on the way", "Ask what filters HTTP headers.", False),
}  # the coordinator's code: what it means, what to do, whether it may pass by itself


class RevokedError(TrustError):
    """The federation's own key says that this site does not belong to it any more.

    Attributes:
        statement: What it signed.
    """

    def __init__(self, statement: dict[str, Any]) -> None:
        since = datetime.fromtimestamp(float(statement["time"]), UTC)
        self.since = since.strftime("%Y-%m-%d %H:%M UTC")
        self.statement = statement
        ended = "This site left its federation" if statement["what"] == "left" else _TAKEN_OFF
        super().__init__(
            f"{ended} on {self.since}.",
            remedy="Call the coordinator's operator; to come back, 'fedtui join' a new invitation.",
        )


def other_protocol(theirs: object) -> LinkError:
    """The coordinator speaks protocol ``theirs``, and this fedtui another one."""
    older = "at the coordinator" if isinstance(theirs, int) and theirs < PROTOCOL else "here"
    return LinkError(
        "protocol",
        f"the coordinator speaks protocol {theirs} and this fedtui {__version__} protocol "
        f"{PROTOCOL}",
        remedy=f"Upgrade fedtui {older}; homes and enrolment stay as they are.",
        passing=False,
    )


class Link:
    """Signed requests of one site to its coordinator; threads may share it.

    Attributes:
        key: What requests are signed with; may be replaced at any time.
        turn: Held while the coordinator is told of a new key.

    Raises:
        LinkError: the request did not get through, or was refused.
        RevokedError: the federation's key says that this site is out.
    """

    def __init__(self, membership: Membership, *, site: str, key: PrivateKey) -> None:
        self.address, self.key = membership.address, key
        self.turn = threading.RLock()
        self._site, self._authority = site, membership.authority.encode()
        self._client = client(membership.address, pinned(membership.authority), TIMEOUT)

    def post(
        self, path: str, body: dict[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """The JSON answer to a signed POST; ``timeout`` is how long the answer may take."""
        key = self.key
        try:
            return self._post(path, body, key, timeout)
        except LinkError as error:
            with self.turn:  # a key may have been changed meanwhile
                if error.code != "forged" or self.key is key:
                    raise
            return self._post(path, body, self.key, timeout)

    def _post(
        self, path: str, body: dict[str, Any], key: PrivateKey, timeout: float | None
    ) -> dict[str, Any]:
        content = json.dumps(body).encode()
        headers = keys.request_headers(key, site=self._site, path=path, body=content)
        limit = TIMEOUT if timeout is None else httpx.Timeout(timeout, connect=TIMEOUT.connect)
        try:
            response = self._client.post(path, content=content, headers=headers, timeout=limit)
            try:
                if response.status_code == 403:
                    self._refused(response, key)
                response.raise_for_status()
                answer = response.json()
                if not isinstance(answer, dict) or "epoch" not in answer:
                    raise ValueError("not a coordinator's answer")
            except (httpx.HTTPError, ValueError, LinkError):
                drop(response)
                raise
        except (httpx.HTTPError, ValueError, ssl.SSLError) as error:
            raise classify(error, self.address) from error
        return answer

    def _refused(self, response: httpx.Response, key: PrivateKey) -> None:
        try:
            answer = response.json()
        except ValueError:  # a page of something in between
            return
        if not isinstance(answer, dict):
            return
        code, statement = answer.get("error"), answer.get("statement")
        if (
            isinstance(statement, dict)
            and statement.get("what") in ("revoked", "left")
            and keys.statement_holds(
                statement, authority=self._authority, site=self._site, public=key.public_key()
            )
        ):
            raise RevokedError(statement)
        if code == "protocol":
            raise other_protocol(answer.get("protocol"))
        if isinstance(code, str) and code in _REFUSALS:
            cause, remedy, passing = _REFUSALS[code]
            raise LinkError(code, cause, remedy=remedy, passing=passing)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
