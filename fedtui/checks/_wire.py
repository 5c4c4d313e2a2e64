"""Connections as the checks need them: direct or through the proxy, timed, and inspectable."""

import contextlib
import http.client
import json
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self

from fedtui import keys
from fedtui.checks import _icmp, _proxies
from fedtui.checks._inquiry import Hello, Inquiry
from fedtui.checks._proxies import Proxy
from fedtui.checks._target import Target
from fedtui.keys import PrivateKey

CONNECT_SECONDS = 4.0  # an absent neighbour is reported by the kernel after 3 s
HANDSHAKE_SECONDS = 4.0
ANSWER_SECONDS = 4.0
ECHO = "/fedtui/echo"


class ProxyRefusedError(OSError):
    """The proxy on the way did not build the tunnel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, and how long it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def document(self) -> dict[str, Any] | None:
        """The body as a JSON object, if it is one."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return None
        return parsed if isinstance(parsed, dict) else None


class Session:
    """An open TLS connection for one request after the other."""

    def __init__(self, sock: ssl.SSLSocket, target: Target) -> None:
        self.sock = sock
        self._connection = http.client.HTTPConnection(target.host, target.port)
        self._connection.sock = sock
        self._connection.auto_open = 0

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = ANSWER_SECONDS,
    ) -> Answer:
        """Ask and wait for the whole answer.

        Raises:
            OSError: the connection broke, or nothing came within ``timeout`` seconds.
            http.client.HTTPException: something that is not HTTP came.
        """
        self.sock.settimeout(timeout)
        began = time.monotonic()
        self._connection.request(method, path, body=body, headers=headers or {})
        response = self._connection.getresponse()
        content = response.read()
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=content,
            seconds=time.monotonic() - began,
        )

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._connection.close()
            self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reach(inquiry: Inquiry, *, timeout: float = CONNECT_SECONDS, segment: int = 0) -> socket.socket:
    """A TCP connection on the path that the agent takes.

    Args:
        segment: Largest TCP segment in bytes; 0 leaves it to the kernel.

    Raises:
        OSError: the path does not open; ProxyRefusedError where the proxy says no.
    """
    target, proxy = inquiry.dialled, inquiry.proxy
    if proxy is not None:
        return through(proxy, target.host, target.port, timeout=timeout, segment=segment)
    error: OSError | None = None
    for address in inquiry.addresses or [target.host]:
        try:
            return dial(address, target.port, timeout=timeout, segment=segment)
        except OSError as refused:
            error = error or refused
    raise error or OSError("no address to dial")


def dial(address: str, port: int, *, timeout: float, segment: int = 0) -> socket.socket:
    """A direct TCP connection to an IP address.

    Raises:
        OSError: it does not open; RejectedError where a router says why.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family)
    try:
        if segment:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        sock.settimeout(timeout)
        _icmp.listen(sock)
        sock.connect((address, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        rejected = _icmp.rejection(sock)
        sock.close()
        if rejected is not None:
            raise rejected from error
        raise
    return sock


def through(
    proxy: Proxy, host: str, port: int, *, timeout: float, segment: int = 0
) -> socket.socket:
    """A tunnel to ``host`` through ``proxy``.

    Raises:
        OSError: the proxy cannot be reached; ProxyRefusedError where it says no.
    """
    sock = to_proxy(proxy, timeout=timeout, segment=segment)
    try:
        refusal = _proxies.connect(sock, proxy, host, port)
    except OSError:
        sock.close()
        raise
    if refusal is not None:
        sock.close()
        raise ProxyRefusedError(f"{refusal.status} {refusal.reason}")
    return sock


def to_proxy(proxy: Proxy, *, timeout: float, segment: int = 0) -> socket.socket:
    """A connection to the proxy itself, its name resolved here."""
    error: OSError | None = None
    for entry in socket.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM):
        try:
            return dial(str(entry[4][0]), proxy.port, timeout=timeout, segment=segment)
        except OSError as refused:
            error = error or refused
    raise error or OSError("the proxy has no address")


def trusting(target: Target) -> ssl.SSLContext:
    """What the agent trusts: TLS 1.2 or newer, the federation's authority and nobody else.

    Raises:
        ValueError: the authority is not a certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=target.authority)
    except ssl.SSLError as error:
        raise ValueError("the authority is not a certificate") from error
    return context


def blind() -> ssl.SSLContext:
    """Trusts anybody: to look at a certificate, and to send nothing of ours but a hello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # a weak certificate can still be looked at
    return context


def handshake(sock: socket.socket, context: ssl.SSLContext, *, name: str | None) -> ssl.SSLSocket:
    """TLS on an open connection; ``name`` None sends no server name.

    Raises:
        OSError: it failed; ssl.SSLError says how.
    """
    sock.settimeout(HANDSHAKE_SECONDS)
    try:
        return context.wrap_socket(sock, server_hostname=name)
    except OSError:
        sock.close()
        raise


def session(inquiry: Inquiry, *, segment: int = 0) -> Session:
    """A new pinned (or, before an invitation, blind) connection on the agent's path.

    Raises:
        OSError: it does not open.
    """
    target = inquiry.dialled
    context = trusting(target) if target.authority else blind()
    sock = reach(inquiry, segment=segment)
    return Session(handshake(sock, context, name=target.host), target)


def ask_hello(open_: Session, *, pinned: bool) -> Hello:
    """GET /fedtui/hello.

    Raises:
        OSError, http.client.HTTPException: no answer, or not HTTP.
    """
    sent = time.time()
    answer = open_.request("GET", "/fedtui/hello")
    document = answer.document
    moment, resolution = (document or {}).get("time"), 0.0
    if not isinstance(moment, int | float):
        moment, resolution = _http_date(answer.headers.get("date", "")), 1.0
    return Hello(
        status=answer.status,
        headers=answer.headers,
        body=answer.body[:4096],
        document=document,
        pinned=pinned,
        sent=sent,
        seconds=answer.seconds,
        server_time=moment,
        resolution=resolution,
    )


def signed(key: PrivateKey, *, site: str, body: bytes, path: str = ECHO) -> dict[str, str]:
    """The headers of a signed request of ``site``."""
    return keys.request_headers(key, site=site, path=path, body=body)


def segments(sock: socket.socket) -> tuple[int, int]:
    """Linux' counts for this connection: data segments sent, and segments sent again."""
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    # struct tcp_info, linux/tcp.h: tcpi_total_retrans at 100, tcpi_data_segs_out at 156
    if len(data) < 160:
        return 0, 0
    again, sent = struct.unpack_from("I", data, 100)[0], struct.unpack_from("I", data, 156)[0]
    return sent, again


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() + 0.5  # the middle of the second it names
    except (TypeError, ValueError):
        return None
