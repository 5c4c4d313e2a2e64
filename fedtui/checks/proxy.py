"""Whether a proxy carries the link, lets it through, and NO_PROXY means what it seems to."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

from fedtui import processes
from fedtui.checks import Finding, State, _proxies, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._proxies import Proxy, Refusal
from fedtui.checks._ticket import ticket
from fedtui.site import Home

NEEDS = ("dns",)
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = False

_SECONDS = 4.0  # a proxy stands in the hospital; it answers at once or not at all


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Find the proxy that the agent would use, and ask it for a tunnel."""
    target, found = inquiry.dialled, _proxies.variables()
    proxy = _proxies.chosen(target.host, target.port, found)
    if inquiry.home is not None and (other := _of_agent(inquiry.home, inquiry)) is not None:
        yield from _compared(proxy, *other)
    if proxy is None:
        yield Finding(
            state=State.OK,
            code="proxy-none",
            measured="direct",
            meaning="No proxy is set for this address.",
        )
        return
    trap = _proxies.traps(target.host, inquiry.addresses, found.get("no", ""))
    if proxy.scheme not in ("http", "https"):
        yield _failed(
            inquiry,
            proxy,
            "proxy-kind",
            f"{proxy.scheme} proxies are not supported",
            "Name an HTTP proxy in HTTPS_PROXY, or exempt the coordinator in NO_PROXY.",
        )
        return
    began = time.monotonic()
    refused = _ask(proxy, target.host, target.port)
    seconds = time.monotonic() - began
    if refused is None:
        inquiry.proxy = proxy
        if trap:
            yield _trapped(inquiry, proxy, trap, State.WARN)
            return
        yield Finding(
            state=State.OK,
            code="proxy-ok",
            measured=f"{seconds * 1000:.0f} ms, {proxy.shown}",
            value=round(seconds, 4),
            unit="s",
            meaning=f"{proxy.shown}, named by {proxy.named_by}, lets us through.",
        )
    elif trap:
        yield _trapped(inquiry, proxy, trap, State.FAIL)
    elif isinstance(refused, OSError):
        yield _unreached(inquiry, proxy, refused)
    else:
        yield _refused(inquiry, proxy, refused)


def _ask(proxy: Proxy, host: str, port: int) -> Refusal | OSError | None:
    try:
        with _wire.to_proxy(proxy, timeout=_SECONDS) as sock:
            return _proxies.connect(sock, proxy, host, port)
    except OSError as error:
        return error


def _refused(inquiry: Inquiry, proxy: Proxy, refusal: Refusal) -> Finding:
    target, said = inquiry.dialled, f"{refusal.status} {refusal.reason}".strip()
    if refusal.status == 407:
        wants = refusal.wants or "a login"
        return _failed(
            inquiry,
            proxy,
            "proxy-login",
            f"it wants {wants} first ({said})",
            "Ask for an exception without login for this address. A Basic login can be written "
            "into HTTPS_PROXY as http://user:password@host:port; Negotiate and NTLM cannot.",
        )
    if refusal.status == 403:
        # Only to tell a forbidden port from a forbidden host: a tunnel, closed at once.
        other = None if target.port == 443 else _ask(proxy, target.host, 443)
        if target.port != 443 and (other is None or _status(other) not in (403, 407)):
            return _failed(
                inquiry,
                proxy,
                "proxy-port",
                f"it forbids port {target.port}, not the host",
                f"Ask for CONNECT to port {target.port}, or let the coordinator listen on 443.",
            )
        return _failed(
            inquiry,
            proxy,
            "proxy-forbidden",
            f"it forbids {target.address} ({said})",
            f"Ask the proxy's team to allow CONNECT to {target.address}.",
        )
    if refusal.status in (500, 502, 503, 504):
        return _failed(
            inquiry,
            proxy,
            "proxy-upstream",
            f"it cannot reach {target.address} ({said})",
            "Either the coordinator is down (call its operator) or the proxy's own way out is "
            "closed (ask the proxy's team).",
        )
    if refusal.status == 0:
        return _failed(
            inquiry,
            proxy,
            "proxy-foreign",
            "what answers there is no HTTP proxy",
            f"Correct {proxy.named_by}.",
        )
    return _failed(
        inquiry,
        proxy,
        "proxy-refused",
        f"it answered CONNECT with {said}",
        f"Ask the proxy's team what {said} means for {target.address}.",
    )


def _status(other: Refusal | OSError) -> int:
    return other.status if isinstance(other, Refusal) else -1


def _unreached(inquiry: Inquiry, proxy: Proxy, error: OSError) -> Finding:
    if isinstance(error, socket.gaierror):
        return _failed(
            inquiry,
            proxy,
            "proxy-unknown",
            "its name is unknown here",
            f"Correct {proxy.named_by}, or ask for the proxy's address.",
        )
    if isinstance(error, ConnectionResetError):
        return _failed(
            inquiry,
            proxy,
            "proxy-closed",
            "it hangs up instead of answering CONNECT",
            f"Ask the proxy's team to allow CONNECT to {inquiry.dialled.address}.",
        )
    if isinstance(error, ConnectionRefusedError):
        return _failed(
            inquiry,
            proxy,
            "proxy-down",
            "nothing listens there",
            f"Correct {proxy.named_by}, or ask the proxy's team.",
        )
    return _failed(
        inquiry,
        proxy,
        "proxy-silent",
        f"it does not answer within {_SECONDS:.0f} s",
        f"Correct {proxy.named_by}, or ask the proxy's team.",
    )


def _failed(inquiry: Inquiry, proxy: Proxy, code: str, what: str, remedy: str) -> Finding:
    address = inquiry.dialled.address
    return Finding(
        state=State.FAIL,
        code=code,
        measured=proxy.shown,
        threshold="CONNECT answered with 200 (RFC 9110)",
        meaning=f"The proxy {proxy.shown}, named by {proxy.named_by}, does not carry the link: "
        f"{what}.",
        remedy=f"{remedy} If this host may connect directly, add {inquiry.dialled.host} to "
        "NO_PROXY.",
        ticket=ticket(
            inquiry,
            f"allow CONNECT {address} on the proxy {proxy.shown}",
            f"CONNECT {address}: {what}",
        ),
    )


def _trapped(inquiry: Inquiry, proxy: Proxy, entries: list[str], state: State) -> Finding:
    host, listed = inquiry.dialled.host, ", ".join(entries)
    works = "which works" if state is State.WARN else "and it does not carry the link"
    return Finding(
        state=state,
        code="proxy-exemption",
        measured=f"NO_PROXY has {listed}",
        threshold="names, .suffixes and single addresses (httpx, which the agent uses)",
        meaning=f"NO_PROXY seems to exempt {host} with {listed}, but networks (CIDR) and '*.' are "
        f"not understood there: the agent goes through {proxy.shown}, {works}.",
        remedy=f"Add {host} itself to NO_PROXY, then 'fedtui down' and 'fedtui up'.",
    )


def _of_agent(home: Home, inquiry: Inquiry) -> tuple[Proxy | None] | None:
    """The proxy that the running agent was started with, in a tuple; None when none runs."""
    if (pid := processes.running(home, "agent")) is None:
        return None
    try:
        text = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another user's process
        return None
    pairs = dict(p.split("=", 1) for p in text.split("\0") if "=" in p)
    target = inquiry.dialled
    return (_proxies.chosen(target.host, target.port, _proxies.variables(pairs)),)


def _compared(mine: Proxy | None, agents: Proxy | None) -> Iterator[Finding]:
    here, there = (p.shown if p else "no proxy" for p in (mine, agents))
    if here != there:
        yield Finding(
            state=State.WARN,
            code="proxy-agent-differs",
            measured=f"here {here}, agent {there}",
            meaning=f"This shell would use {here}, but the running agent was started with "
            f"{there}: what works here may fail there.",
            remedy="Set the same variables where the agent is started, then down and up.",
        )
