"""A site's place in its federation, at the site: its key changed, its membership ended."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from fedtui import agreement, events, keys
from fedtui.flower.link import Link, RevokedError
from fedtui.flower.node import Node
from fedtui.keys import PrivateKey
from fedtui.register import Register
from fedtui.site import Home
from fedtui.transport import LinkError


class Belonging:
    """The key that an agent signs with, and how both come to an end.

    Attributes:
        key: The site's private key now.

    Args:
        clean: What every request's body passes on its way out of the site.
    """

    def __init__(
        self,
        home: Home,
        name: str,
        key: PrivateKey,
        *,
        link: Link,
        node: Node,
        append: Callable[[events.Event], None],
        clean: Callable[[Mapping[str, Any]], dict[str, Any]],
    ) -> None:
        self.key = key
        self._home, self._name, self._link, self._node = home, name, link, node
        self._append, self._clean = append, clean

    def finish(self) -> None:
        """Go on with a change of key that was begun and not heard to have ended, if there is one.

        Raises:
            LinkError: the coordinator was not reached.
        """
        with self._link.turn:
            if (self._home.keys / "node.key.new").exists():
                self.rotate()

    def rotate(self) -> dict[str, Any]:
        """Make a new key and have the old one hand over to it; returns both fingerprints.

        Killed at any instant, it is taken up again at the next attach: the new key is on disk
        before the coordinator hears of it, the old one until the coordinator has said yes.

        Raises:
            LinkError: the coordinator was not reached; the old key goes on.
        """
        with self._link.turn:
            return self._rotate()

    def _rotate(self) -> dict[str, Any]:
        old, new = self.key, keys.draw_node_key(self._home.keys)
        body = self._clean(
            {
                "key": keys.public_bytes(new.public_key()).decode(),
                "proof": keys.sign_succession(new, site=self._name, old=old.public_key()),
            }
        )
        try:
            self._link.post("/fedtui/rotate", body)
        except LinkError as error:
            if error.code != "forged":
                raise
            self._link.key = new  # it may have said yes already, to nobody
            try:
                self._link.post("/fedtui/rotate", body)
            except LinkError:
                self._link.key = old
                raise
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        Register(self._home.studies).post(  # what the old key vouched for still holds
            agreement.hand_over(old, new, site=self._name, time=moment)
        )
        keys.adopt_node_key(self._home.keys)
        self.key = self._link.key = new
        self._node.rekey(new)
        told = {
            "key": keys.fingerprint(new.public_key()),
            "old": keys.fingerprint(old.public_key()),
        }
        self._append(events.KeyRotated(site=self._name, **told))
        return told

    def end(self, error: RevokedError) -> None:
        """Remember that the membership ended, and ask the supervisor not to start this again."""
        if not self._home.ended.exists():
            keys.write_atomically(self._home.ended, json.dumps(error.statement).encode())
            self._append(events.MembershipEnded(site=self._name, since=error.since))
        (self._home.state / "wanted").unlink(missing_ok=True)
