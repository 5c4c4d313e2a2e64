"""Whether a TCP connection opens, and if not, who says no."""

import time
from collections.abc import Iterator

from fedtui.checks import Finding, State, _proxies, _wire
from fedtui.checks._icmp import RejectedError
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("dns", "route")
AFTER = ("proxy",)  # a proxy that fails leaves a direct look worth having
NETWORK = True
DEEP = False

_ADDRESSES = 4  # of a name with many; enough to see one that is dead
_OTHER_SECONDS = 1.0
_BESIDE_PROXY_SECONDS = 0.5  # only to compare; the proxy carries the link
_OTHERS = (443, 80)  # is anybody there at all? Asked only when our own port is silent
_SOME = "connection accepted (TCP handshake)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Connect as the agent does, to every address of the name."""
    target = inquiry.dialled
    if _proxies.chosen(target.host, target.port, _proxies.variables()) is not None:
        yield _beside(inquiry)
        return
    works: list[tuple[str, float]] = []
    errors: list[tuple[str, OSError, float]] = []
    for address in inquiry.addresses[:_ADDRESSES]:
        # Once one has answered or been silent, the others may not take long.
        timeout = _OTHER_SECONDS if works or errors else _wire.CONNECT_SECONDS
        began = time.monotonic()
        try:
            _wire.dial(address, target.port, timeout=timeout).close()
        except OSError as error:
            errors.append((address, error, time.monotonic() - began))
        else:
            works.append((address, time.monotonic() - began))
    if not works:
        yield _named(inquiry, *errors[0])
        yield from _unused_proxies(inquiry)
        return
    address, seconds = works[0]
    # What works comes first from here on.
    inquiry.addresses.sort(key=lambda a: a not in [w for w, _ in works])
    yield Finding(
        state=State.OK,
        code="tcp-ok",
        measured=f"{seconds * 1000:.0f} ms, {address}",
        value=round(seconds, 4),
        unit="s",
        threshold=_SOME,
        meaning=f"{target.address} accepts connections.",
    )
    if errors:
        yield _partly(inquiry, errors, address)


def _named(inquiry: Inquiry, address: str, error: OSError, seconds: float) -> Finding:
    target = inquiry.dialled
    if isinstance(error, ConnectionRefusedError):
        return _failed(
            inquiry,
            "tcp-refused",
            "refused",
            seconds,
            f"{address} answers, but port {target.port} is closed: the coordinator is not "
            "running, or a firewall refuses in its name. One end cannot tell these apart.",
            "Ask the coordinator's operator whether it runs ('fedtui status' there). If it does, "
            "give the ticket to both network teams.",
        )
    if isinstance(error, ConnectionResetError):
        return _failed(
            inquiry,
            "tcp-reset",
            "reset",
            seconds,
            f"The connection to {address} was torn down while it opened: a firewall or load "
            "balancer in between.",
            "Give the ticket to the network team.",
        )
    if isinstance(error, RejectedError):
        return _rejected(inquiry, address, error, seconds)
    if isinstance(error, TimeoutError):
        return _silent(inquiry, address, seconds)
    return Finding(
        state=State.UNKNOWN,
        code="tcp-unknown",
        measured=error.strerror or "error",
        meaning=f"Connecting to {address} failed in a way we do not know.",
        remedy="Give the evidence to the network team.",
        ticket=ticket(inquiry, f"open outbound TCP to {target.address}", f"connect: {error}"),
    )


def _rejected(inquiry: Inquiry, address: str, error: RejectedError, seconds: float) -> Finding:
    """A router or firewall said no, and why, in an ICMP message."""
    port, said = inquiry.dialled.port, f"{error.message} from {error.router}"
    if error.reason == "prohibited":
        return _failed(
            inquiry,
            "tcp-prohibited",
            said,
            seconds,
            f"{error.router} rejects packets to {address} port {port} and says so: a firewall "
            "rule, at this host, on the way or at the other end.",
            "Give the ticket to the network team: the rule exists, and needs an exception.",
        )
    if error.reason == "network":
        return _failed(
            inquiry,
            "tcp-no-network",
            said,
            seconds,
            f"{error.router} reports that it knows no way to {address}.",
            "Ask the network team for a route.",
        )
    return _failed(
        inquiry,
        "tcp-absent",
        said,
        seconds,
        f"{error.router} reports that nobody has the address {address} in the network where it "
        "should be: the host is off, or the address is wrong.",
        "Ask the coordinator's operator whether the host is up and has this address.",
    )


def _silent(inquiry: Inquiry, address: str, seconds: float) -> Finding:
    target = inquiry.dialled
    for port in (p for p in _OTHERS if p != target.port):
        try:
            _wire.dial(address, port, timeout=1.0).close()
        except ConnectionRefusedError:
            pass
        except OSError:
            continue
        return _failed(
            inquiry,
            "tcp-dropped",
            "no answer",
            seconds,
            f"Packets to {address} port {target.port} vanish, while port {port} of the same host "
            "answers: a firewall drops them.",
            "Give the ticket to the network team: a firewall rule is needed.",
        )
    return _failed(
        inquiry,
        "tcp-silent",
        "no answer",
        seconds,
        f"Nothing at {address} answers, on any port tried: a firewall drops everything, or the "
        "host is off or absent. One end cannot tell these apart.",
        "Ask the coordinator's operator whether the host is up; if it is, give the ticket to "
        "both network teams.",
    )


def _failed(
    inquiry: Inquiry, code: str, measured: str, seconds: float, meaning: str, remedy: str
) -> Finding:
    address = inquiry.dialled.address
    return Finding(
        state=State.FAIL,
        code=code,
        measured=f"{measured} after {seconds:.2f} s",
        value=round(seconds, 4),
        unit="s",
        threshold=_SOME,
        meaning=meaning,
        remedy=remedy,
        ticket=ticket(
            inquiry,
            f"open outbound TCP to {address}",
            f"TCP connect: {measured} after {seconds:.2f} s",
        ),
    )


def _partly(inquiry: Inquiry, errors: list[tuple[str, OSError, float]], works: str) -> Finding:
    bad = ", ".join(address for address, _, _ in errors)
    return Finding(
        state=State.WARN,
        code="tcp-partly",
        measured=f"{bad} does not answer",
        threshold="every address of the name accepts",
        meaning=f"{inquiry.dialled.host} has several addresses; {bad} does not accept and {works} "
        "does: the agent may lose seconds at each new connection.",
        remedy="Ask the coordinator's network team to remove or mend that address.",
        ticket=ticket(inquiry, f"mend or remove {bad}", *(f"{a}: {e}" for a, e, _ in errors)),
    )


def _beside(inquiry: Inquiry) -> Finding:
    """Beside a proxy, direct is not what the agent uses; it is worth knowing all the same."""
    target = inquiry.dialled
    measured = "direct not tried: the name is not known here"
    if inquiry.addresses:
        try:
            timeout = _BESIDE_PROXY_SECONDS
            _wire.dial(inquiry.addresses[0], target.port, timeout=timeout).close()
            measured = "direct works too"
        except OSError:
            measured = "direct is closed"
    advice = f"Add {target.host} to NO_PROXY to go direct." if measured.endswith("too") else ""
    return Finding(
        state=State.SKIP,
        code="tcp-unused",
        measured=measured,
        meaning=f"Not needed: a proxy is set for this address; {measured}.",
        remedy=advice if inquiry.proxy is None else "",
    )


def _unused_proxies(inquiry: Inquiry) -> Iterator[Finding]:
    """A proxy that is known here, is not used, and would work."""
    target = inquiry.dialled
    for proxy in _proxies.elsewhere(_proxies.variables()):
        try:
            _wire.through(proxy, target.host, target.port, timeout=2.0).close()
        except OSError:
            continue
        yield Finding(
            state=State.FAIL,
            code="tcp-proxy-unset",
            measured=proxy.shown,
            meaning=f"Direct connections fail, but the proxy {proxy.shown} in {proxy.named_by} "
            "lets us through; it is not set for the agent.",
            remedy=f"Set HTTPS_PROXY={proxy.shown}, then 'fedtui down' and 'fedtui up'.",
        )
        return
