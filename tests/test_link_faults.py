"""Whatever a hospital's network does for a while, the site stays and the run goes on."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from fedtui import events, processes
from fedtui.transport import LinkError, classify
from tests import federation as fed
from tests.fault_proxy import Box, Fault, FaultProxy, connect, cut, in_clear, reset, swallow
from tests.federation import COORDINATOR, SITE, Federation, until
from tests.lab_servers import answer

HOST = "127.0.0.2"  # 127.0.0.1 never goes through a proxy
WELCOME = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class Ward:
    """A federation whose second site sees its coordinator through a proxy, and the run it is in."""

    federation: Federation
    proxy: FaultProxy
    box: Box
    run: str

    def round(self, *, after: int) -> events.RoundEnded:
        """The next round in which both sites took part."""
        record = until(
            self.federation.coordinator,
            lambda e: isinstance(e, events.RoundEnded) and e.run == self.run and SITE in e.by_site,
            after=after,
            seconds=90,
        )
        assert isinstance(record.event, events.RoundEnded)
        return record.event


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    port = fed.free_port()
    proxy = FaultProxy((HOST, port))
    before = os.environ.get("HTTPS_PROXY")
    try:
        with fed.homes(
            COORDINATOR, SITE, host=HOST, port=port, dial=f"{HOST}:{port}", listed=(HOST,)
        ) as made:
            made.up(COORDINATOR)
            os.environ["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy.port}"
            made.up(SITE)
            for name in made.homes:
                made.linked(name)
            run = made.start(fed.study(rounds=1_000_000))
            ward = Ward(made, proxy, Box(made.folder, made.coordinator.keys, HOST), run)
            ward.round(after=0)
            yield ward
            made.idle()
    finally:
        proxy.close()
        os.environ.pop("HTTPS_PROXY", None)
        if before is not None:
            os.environ["HTTPS_PROXY"] = before


PAGE = b"<html><body>Blocked by policy</body></html>"


def fault(box: Box, kind: str) -> tuple[bytes, Fault | None]:
    """What the proxy answers to CONNECT, and what it does with the tunnel after a 200."""
    heads = {
        "CONNECT 502": "502 Bad Gateway",
        "CONNECT 503": "503 Service Unavailable",
        "CONNECT 407": "407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate",
        "CONNECT 403": "403 Forbidden",
        "CONNECT, hung up": "",
    }
    if kind in heads:
        return connect(heads[kind])
    if kind.isdigit():
        lines = {
            "401": "Unauthorized", "403": "Forbidden", "404": "Not Found", "407": "Proxy Login",
            "408": "Request Timeout", "413": "Too Large", "429": "Too Many Requests",
            "500": "Internal", "502": "Bad Gateway", "503": "Unavailable", "504": "Timeout",
        }  # fmt: skip
        return WELCOME, box.status(f"{kind} {lines[kind]}", PAGE, kind="text/html")
    gateways = {
        "page": lambda *_: answer(PAGE, kind="text/html"),
        "foreign JSON": lambda *_: answer(b'{"status": "UP"}'),
        "JSON 403": lambda *_: answer(b'{"error": "waf-12"}', status="403 Forbidden"),
        "redirect": lambda *_: answer(b"", status="302 Found", extra="location: /login\r\n"),
        "cut in the answer": lambda *_: b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{",
        "no HTTP": lambda *_: b"SSH-2.0-OpenSSH_9.2\r\n",
    }
    if kind in gateways:
        return WELCOME, box.answering(gateways[kind])
    others: dict[str, Fault] = {
        "TLS EOF": cut,
        "reset": reset,
        "silence": swallow,
        "no TLS": in_clear,
        "TLS inspection": box.inspecting(),
        "expired": box.expired(),
        "another name": box.misnamed(),
    }
    return WELCOME, others[kind]


SOON = [
    ("TLS EOF", "tls"),
    ("401", "unauthorised"),
    ("500", "status-500"),
    ("page", "foreign"),
    ("CONNECT 502", "proxy"),
]
LATER = [
    ("TLS inspection", "certificate"),
    ("404", "status-404"),
    ("reset", "reset"),
    ("silence", "timeout"),
    ("no TLS", "plain"),
    ("403", "status-403"),
    ("JSON 403", "status-403"),
    ("407", "proxy-login"),
    ("408", "status-408"),
    ("413", "body-limit"),
    ("429", "status-429"),
    ("502", "status-502"),
    ("503", "status-503"),
    ("504", "status-504"),
    ("foreign JSON", "foreign"),
    ("redirect", "status-302"),
    ("cut in the answer", "closed"),
    ("no HTTP", "closed"),
    ("expired", "certificate-dates"),
    ("another name", "certificate-name"),
    ("CONNECT 503", "proxy"),
    ("CONNECT 407", "proxy-login"),
    ("CONNECT 403", "proxy-forbidden"),
    ("CONNECT, hung up", "closed"),
]


@pytest.mark.parametrize(
    ("kind", "code"),
    [*SOON, *(pytest.param(*row, marks=pytest.mark.slow) for row in LATER)],
    ids=lambda value: value.replace(" ", "-"),
)
def test_a_fault_on_the_way_is_named_and_the_run_goes_on_after_it(
    ward: Ward, kind: str, code: str
) -> None:
    made, home = ward.federation, ward.federation.site
    proxy, agent, after = ward.proxy, processes.running(home, "agent"), fed.head(home)
    tunnels, faults = proxy.tunnels, proxy.faults

    proxy.break_(*fault(ward.box, kind))
    with contextlib.ExitStack() as stack:
        stack.callback(proxy.mend)
        deadline = time.monotonic() + 60
        while proxy.faults < faults + 2:  # not only the cut of what was open
            assert time.monotonic() < deadline
            time.sleep(0.05)
        told = until(home, lambda e: isinstance(e, events.LinkChanged) and e.code == code,
                     after=after, seconds=45)  # fmt: skip
    there = fed.head(made.coordinator)
    until(home, lambda e: isinstance(e, events.LinkChanged) and e.up, after=told.seq, seconds=60)
    ward.round(after=there)

    assert isinstance(told.event, events.LinkChanged)
    assert told.event.sentence.isprintable()
    assert "waf-12" not in told.event.sentence  # a stranger's words are not repeated
    assert processes.running(home, "agent") == agent
    assert proxy.tunnels > tunnels  # Flower's client and ours went through the proxy


def test_loopback_is_exempt_for_every_process_of_a_home(ward: Ward) -> None:
    for name in ward.federation.homes:
        home = ward.federation.homes[name]
        pid = processes.running(home, "agent")
        with open(f"/proc/{pid}/environ", encoding="utf-8") as file:  # noqa: PTH123
            values = dict(p.split("=", 1) for p in file.read().split("\0") if "=" in p)
        assert {"localhost", "127.0.0.1", "::1"} <= set(values["NO_PROXY"].split(","))
        assert ("HTTPS_PROXY" in values) == (name == SITE)


def response(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://a")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status))


@pytest.mark.parametrize(
    ("error", "code", "passing"),
    [
        (response(401), "unauthorised", True),
        (response(403), "status-403", True),
        (response(404), "status-404", True),
        (response(407), "proxy-login", False),
        (response(408), "status-408", True),
        (response(413), "body-limit", False),
        (response(429), "status-429", True),
        (response(503), "status-503", True),
        (httpx.ProxyError("502 Bad Gateway"), "proxy", True),
        (httpx.ProxyError("407 Proxy Authentication Required"), "proxy-login", False),
        (httpx.ProxyError("403 Forbidden"), "proxy-forbidden", False),
        (httpx.ConnectTimeout(""), "timeout", True),
        (httpx.ReadTimeout(""), "stalled", True),
        (httpx.ConnectError("[Errno 111] Connection refused"), "refused", True),
        (httpx.ConnectError("[Errno 104] Connection reset by peer"), "reset", True),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "dns", True),
        (httpx.ConnectError("[Errno -3] Temporary failure in name resolution"), "dns", True),
        (httpx.ConnectError("[SSL: UNEXPECTED_EOF_WHILE_READING]"), "tls", True),
        (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version"), "plain", True),
        (
            httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"),
            "certificate",
            False,
        ),
        (httpx.ReadError(""), "closed", True),
        (httpx.RemoteProtocolError(""), "closed", True),
        (httpx.DecodingError(""), "foreign", True),
        (httpx.TooManyRedirects(""), "foreign", True),
        (httpx.InvalidURL(""), "foreign", True),
        (ValueError("Invalid protobuf response payload"), "foreign", True),
        (RuntimeError("anything"), "internal", True),
    ],
)
def test_every_error_has_a_name_and_a_remedy(error: Exception, code: str, passing: bool) -> None:
    named = classify(error, "fed.test:8443")

    assert isinstance(named, LinkError)
    assert (named.code, named.passing) == (code, passing)
    assert named.remedy
