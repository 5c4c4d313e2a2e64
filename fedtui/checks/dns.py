"""Whether the coordinator's name is known here, how fast, and as what it was published."""

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Iterator

from fedtui.checks import Finding, State, _proxies
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = False

SLOW_SECONDS = 1.0  # a connection attempt of the agent may take 5 s in all
LONGEST_SECONDS = 5.0  # glibc asks the first server for 5 s before it turns to the next
_LIMIT = f"answer below {SLOW_SECONDS:.0f} s (fedtui: a fifth of the agent's 5 s to connect)"
_PASSING = (socket.EAI_AGAIN, getattr(socket, "EAI_FAIL", socket.EAI_AGAIN))


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Resolve the name as every program here does."""
    target = inquiry.dialled
    if _is_address(target.host):
        inquiry.addresses = [target.host]
        yield Finding(
            state=State.OK,
            code="dns-not-needed",
            measured=target.host,
            meaning="The coordinator is dialled by its address; no name is involved.",
        )
        return
    began = time.monotonic()
    answer = _resolve(target.host, target.port)
    seconds = time.monotonic() - began
    if not isinstance(answer, list):
        yield _failed(inquiry, answer, seconds)
        return
    inquiry.addresses = answer
    shown = ", ".join(answer)
    if target.addresses and not set(answer) & set(target.addresses):
        published = ", ".join(target.addresses)
        yield Finding(
            state=State.FAIL,
            code="dns-differs",
            measured=shown,
            threshold=f"one of {published} (the invitation)",
            meaning=f"{target.host} is {shown} here, but the coordinator published {published}: "
            "split DNS, an old record, or a name server that answers for others.",
            remedy=f"Ask the network team to let {target.host} resolve to {published} here.",
            ticket=ticket(
                inquiry,
                f"let {target.host} resolve to {published}",
                f"the resolver of this host answers {shown}",
            ),
        )
        return
    slow = seconds >= SLOW_SECONDS
    yield Finding(
        state=State.WARN if slow else State.OK,
        code="dns-slow" if slow else "dns-ok",
        measured=f"{seconds * 1000:.0f} ms, {shown}",
        value=round(seconds, 4),
        unit="s",
        threshold=_LIMIT,
        meaning=f"{target.host} is {shown}, known after {seconds:.2f} s"
        + (": a name server on the way does not answer, or answers late." if slow else "."),
        remedy="Ask the network team why the first name server in /etc/resolv.conf is slow."
        if slow
        else "",
        ticket=ticket(
            inquiry,
            f"speed up name resolution of {target.host}",
            f"the answer took {seconds:.2f} s",
        )
        if slow
        else "",
    )


def _failed(inquiry: Inquiry, error: OSError | None, seconds: float) -> Finding:
    host = inquiry.dialled.host
    proxy = _proxies.chosen(host, inquiry.dialled.port, _proxies.variables())
    if proxy is not None:
        return Finding(
            state=State.SKIP,
            code="dns-by-proxy",
            measured="not known here",
            meaning=f"{host} is not known on this host; the proxy {proxy.shown} resolves it.",
        )
    if error is None or error.errno in _PASSING:
        cause = "the name servers in /etc/resolv.conf do not answer, or answer with a failure"
        code = "dns-timeout"
        remedy = "Check the network cable or VPN first, then ask the network team about DNS."
        request = "make the name servers of this host answer"
    else:
        cause, code = "the name does not exist here", "dns-missing"
        remedy = "Ask the network team to add the name, or use the IP address in the invitation."
        request = f"let {host} resolve on this host"
    return Finding(
        state=State.FAIL,
        code=code,
        measured=f"no answer in {seconds:.1f} s" if code == "dns-timeout" else "unknown name",
        value=round(seconds, 4),
        unit="s",
        threshold=_LIMIT,
        meaning=f"{host} cannot be resolved: {cause}.",
        remedy=remedy,
        ticket=ticket(inquiry, request, f"getaddrinfo: {error or 'no answer'}"),
    )


def _resolve(host: str, port: int) -> list[str] | OSError | None:
    """Addresses in the system's order; the error; or None when nothing came in 5 s."""
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else socket.gaierror(0, str(error)))
        else:
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))

    # getaddrinfo takes no timeout: left behind when it hangs.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=LONGEST_SECONDS)
    except queue.Empty:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
