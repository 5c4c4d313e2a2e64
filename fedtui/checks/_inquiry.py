"""One run of the checks: what is asked, and the facts that earlier checks found for later ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedtui.site import Home

if TYPE_CHECKING:
    from fedtui.checks._proxies import Proxy
    from fedtui.checks._target import Target
    from fedtui.checks._wire import Session

MODEL_BYTES = 10_000_000  # when no study says more: the size of our larger table models
IDLE_SECONDS = 60.0  # three times the agent's longest silence, the usual limit of HTTP proxies


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What ``/fedtui/hello`` answered.

    Attributes:
        pinned: Whether TLS proved that the federation's own server said it.
        sent: Local time of asking, seconds since 1970.
        seconds: How long the answer took.
        server_time: The other end's time, seconds since 1970, if it said.
        resolution: Seconds by which that may be off: 1 for an HTTP date, else 0.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    document: dict[str, Any] | None
    pinned: bool
    sent: float
    seconds: float
    server_time: float | None
    resolution: float


@dataclass(kw_only=True)
class Inquiry:
    """What is asked, and what is known so far.

    A check writes the facts of its own subject; only checks that come AFTER it read them.

    Attributes:
        addresses: What the coordinator's name resolves to (dns).
        proxy: What carries the link, None for a direct connection (proxy).
        session: The open, pinned connection that later checks share one after the other (tls).
        hello: Its answer to the first request, or an unproven one from a refused handshake (tls).
        echo: The signed echo's answer (identity).
        round_trips: Seconds of every request and answer so far.
    """

    target: Target | None = None
    home: Home | None = None
    deep: bool = False
    idle_seconds: float = IDLE_SECONDS
    model_bytes: int = MODEL_BYTES
    addresses: list[str] = field(default_factory=list)
    proxy: Proxy | None = None
    session: Session | None = None
    hello: Hello | None = None
    echo: bool = False
    round_trips: list[float] = field(default_factory=list)

    @property
    def dialled(self) -> Target:
        """The coordinator; network checks run only when there is one."""
        if self.target is None:
            raise ValueError("a network check without a coordinator")
        return self.target
