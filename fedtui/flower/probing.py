"""Phase 0's last question: does a real Flower message reach the site's node, and its answer us?

It goes the way of every round's work: stored in Flower's state, pulled, fetched and answered by
the node, received here. It asks for nothing and holds nothing.
"""

import threading
import time
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from fedtui.flower.fleet import Fleet
from fedtui.flower.presence import Presence
from fedtui.flower.vectors import RefusedError
from fedtui.flower.work import PROBE

_SECONDS = 8.0  # the agent gives up after 10
_MESSAGE_SECONDS = 60.0  # its life at Flower


class Probe:
    """Sends probes between runs; Flower has one run at a time in a process, so never during one.

    Attributes:
        free: Held by a run for as long as it lasts.
    """

    def __init__(self, fleet: Fleet, presence: Presence) -> None:
        self._fleet, self._presence = fleet, presence
        self.free = threading.Lock()

    def __call__(self, site: str) -> dict[str, Any]:
        """Seconds from sending ``site`` a message to having its answer, or why there are none."""
        if not self.free.acquire(blocking=False):
            return {"busy": True}
        try:
            run = self._fleet.begin_run()
            try:
                return self._exchange(site, run)
            finally:
                self._fleet.end_run(run)
        finally:
            self.free.release()

    def _exchange(self, site: str, run: int) -> dict[str, Any]:
        attached, began = self._presence.attached(site), time.monotonic()
        ids = [self._send(site)]
        try:
            while time.monotonic() - began < _SECONDS:
                self._fleet.wait(0.05)
                if any(self._fleet.receive(id, run) is not None for id in ids):
                    return {"seconds": round(time.monotonic() - began, 4)}
                if self._presence.attached(site) != attached:  # a message under way may be lost
                    attached = self._presence.attached(site)
                    ids.append(self._send(site))
            return {"lost": True, "pulled": self._fleet.delivered(ids[-1])}
        except RefusedError as error:
            return {"refused": error.code}
        finally:
            self._fleet.forget(ids)

    def _send(self, site: str) -> str:
        content = RecordDict({"config": ConfigRecord({"run": "", "round": 0, "phase": PROBE})})
        node = self._fleet.node(site)
        return self._fleet.send(Message(content, node, MessageType.QUERY, ttl=_MESSAGE_SECONDS))
