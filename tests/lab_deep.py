"""Faults that only ``--deep`` finds: silence, packet size, loss, jitter, bandwidth."""

import time
from collections.abc import Iterator
from typing import Any

from tests import lab_servers as servers
from tests.federation import free_port
from tests.lab import Case, Lab, fault
from tests.lab_authority import of_federation
from tests.lab_servers import listening, relay

_HAPROXY = """
global
  log /dev/null local0
defaults
  mode tcp
  timeout connect 5s
  timeout client {seconds}s
  timeout server {seconds}s
listen coordinator
  bind 127.0.0.1:{port}
  server here 127.0.0.1:{upstream}
"""


def _deep(*only: str, **more: Any) -> dict[str, Any]:
    return {"deep": True, "only": only, **more}


@fault("haproxy closes silent connections after 3 s", "idle-closed", needs=("haproxy", "root"))
def idle_closed(lab: Lab) -> Iterator[Case]:
    port, config = free_port(), lab.folder / "haproxy.conf"
    config.write_text(_HAPROXY.format(seconds=3, port=port, upstream=lab.namespace.port))
    with lab.namespace.running(["haproxy", "-db", "-f", str(config)]):
        time.sleep(0.5)
        yield Case(
            target=lab.within(port=port), inside=True, options=_deep("idle", idle_seconds=6.0)
        )


@fault("a firewall forgets silent connections after 3 s", "idle-silent", needs=("root",))
def idle_silent(lab: Lab) -> Iterator[Case]:
    port = lab.namespace.port
    # A firewall's memory: who spoke to whom within the last 3 s; others are dropped, unless new.
    body = f"""
      set known {{ type inet_service; flags dynamic,timeout; timeout 3s; }}
      chain lab {{
        type filter hook input priority 0; policy accept;
        tcp dport != {port} accept
        tcp flags & (syn|ack) == syn update @known {{ tcp sport timeout 3s }} accept
        tcp sport @known update @known {{ tcp sport timeout 3s }} accept
        drop
      }}
    """
    lab.namespace.do("nft", "-f", "-", text=f"table inet lab {{ {body} }}")
    try:
        yield Case(target=lab.within(), inside=True, options=_deep("idle", idle_seconds=6.0))
    finally:
        lab.namespace.do("nft", "delete", "table", "inet", "lab")


@fault("packets over 1300 bytes vanish", "mtu-black-hole", needs=("root",))
def black_hole(lab: Lab) -> Iterator[Case]:
    rule = f"tcp dport {lab.namespace.port} meta length > 1300 drop"
    with lab.namespace.filtering(rule):
        yield Case(target=lab.within(), inside=True, options=_deep("mtu"))


@fault("one packet in ten is lost", "loss-high", needs=("root",))
def loss(lab: Lab) -> Iterator[Case]:
    rule = f"tcp dport {lab.namespace.port} numgen random mod 10 0 drop"
    with lab.namespace.filtering(rule):
        yield Case(target=lab.within(), inside=True, options=_deep("loss"))


@fault("answers come unevenly", "jitter-high")
def jitter(lab: Lab) -> Iterator[Case]:
    with listening(relay(lab.port, jitter=0.4)) as port:
        yield Case(target=lab.target("127.0.0.1", port), options=_deep("jitter"))


@fault("a gateway welcomes a body and then refuses it", "body-limit")
def late_limit(lab: Lab) -> Iterator[Case]:
    def respond(method: str, path: bytes, size: int = 0) -> bytes:
        if size > 1 << 20:
            return servers.answer(b"", status="413 Content Too Large")
        return servers.coordinator()(method, path)

    files = of_federation(lab.folder, lab.coordinator.keys).issue("127.0.0.1")
    with listening(servers.tls(servers.context_of(files), respond, sized=True)) as port:
        target = lab.target("127.0.0.1", port)
        yield Case(target=target, home=lab.site, options=_deep("bandwidth"))


@fault("8 Mbit/s for a model of 100 MB", "bandwidth-low", needs=("root", "tc"))
def slow_line(lab: Lab) -> Iterator[Case]:
    words = ("rate", "8mbit", "burst", "128kb", "latency", "400ms")
    lab.namespace.do("tc", "qdisc", "add", "dev", "lo", "root", "tbf", *words)
    try:
        yield Case(
            target=lab.within(),
            home=lab.site,
            inside=True,
            options=_deep("bandwidth", model_bytes=100_000_000),
        )
    finally:
        lab.namespace.do("tc", "qdisc", "del", "dev", "lo", "root")
