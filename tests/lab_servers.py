"""Servers that misbehave on purpose: TLS with any certificate, relays, proxies, HTTP in clear."""

import contextlib
import json
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fedtui import __version__
from fedtui.study import PROTOCOL

Handler = Callable[[socket.socket], None]
Respond = Callable[..., bytes]  # of method, path and, where wanted, the body's size


@contextlib.contextmanager
def listening(handler: Handler, *, host: str = "127.0.0.1") -> Iterator[int]:
    """A TCP server that gives every connection to ``handler``; yields its port."""
    server = socket.create_server((host, 0))
    open_: set[socket.socket] = set()

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError):
            handler(client)
        open_.discard(client)

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            open_.add(client)
            thread = threading.Thread(target=serve, args=(client,), daemon=True)
            threads.append(thread)
            thread.start()

    threads: list[threading.Thread] = []
    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        acceptor.join(5)
        for client in list(open_):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def strict(respond: Respond) -> Handler:
    """HTTP in clear that refuses a TLS hello at once, as real servers do; ``http`` only waits."""

    def handle(client: socket.socket) -> None:
        if client.recv(1, socket.MSG_PEEK) == b"\x16":
            client.sendall(answer(b"", status="400 Bad Request"))
        else:
            http(respond)(client)

    return handle


def context_of(
    files: tuple[Path, Path],
    *,
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(*files)
    context.minimum_version, context.maximum_version = lowest, highest
    return context


def tls(context: ssl.SSLContext, respond: Respond, *, sized: bool = False) -> Handler:
    """HTTPS with ``context``, answering as ``respond`` says."""
    return lambda client: http(respond, sized=sized)(context.wrap_socket(client, server_side=True))


def http(respond: Respond, *, sized: bool = False) -> Handler:
    """HTTP/1.1 with keep-alive; an announced body is welcomed and then waited for."""

    def handle(client: socket.socket) -> None:
        with client, client.makefile("rb") as stream:
            while first := stream.readline():
                length = 0
                while (line := stream.readline().strip().lower()) not in (b"",):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    if line.startswith(b"expect:"):
                        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                if length and len(stream.read(length)) < length:
                    return
                method, path = first.split()[0].decode(), first.split()[1]
                client.sendall(respond(method, path, *([length] if sized else [])))

    return handle


def answer(
    body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = ""
) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}"
    return f"{head}\r\n".encode() + body


def coordinator(
    *, version: str = __version__, protocol: int = PROTOCOL, ahead: float = 0.0
) -> Respond:
    """What a coordinator of that version answers, its clock ``ahead`` by so many seconds."""

    def respond(method: str, path: bytes) -> bytes:
        document: dict[str, Any] = {"time": time.time() + ahead, "padding": ""}
        if method == "GET":
            document |= {"fedtui": version, "protocol": protocol}
        return answer(json.dumps(document).encode())

    return respond


def page(_: str, __: bytes) -> bytes:
    return answer(b"<html><body>Blocked by policy</body></html>", kind="text/html")


def login(_: str, __: bytes) -> bytes:
    return answer(b"", status="302 Found", extra="location: http://login.hospital.test/\r\n")


def relay(
    port: int, *, seconds: float = 0.0, jitter: float = 0.0, host: str = "127.0.0.1"
) -> Handler:
    """TCP to ``port``, each way delayed by ``seconds`` plus up to ``jitter``, in order."""

    def handle(client: socket.socket) -> None:
        with socket.create_connection((host, port)) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            copy_both(client, server, seconds=seconds, jitter=jitter)

    return handle


def copy_both(
    one: socket.socket, other: socket.socket, *, seconds: float = 0.0, jitter: float = 0.0
) -> None:
    """Copy until either side ends."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if not seconds and not jitter:
                while data := source.recv(1 << 16):
                    sink.sendall(data)
            else:
                _late_copy(source, sink, seconds, jitter)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=copy, args=(other, one), daemon=True)
    back.start()
    copy(one, other)
    back.join(5)


def _late_copy(source: socket.socket, sink: socket.socket, seconds: float, jitter: float) -> None:
    waiting: list[tuple[float, bytes]] = []
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            sink.sendall(waiting.pop(0)[1])
        pause = max(0.0, waiting[0][0] - now) if waiting else None
        if select.select([source], [], [], pause)[0]:
            data = source.recv(1 << 16)
            if not data:
                return
            due = time.monotonic() + seconds + random.uniform(0, jitter)
            waiting.append((max(due, waiting[-1][0] if waiting else 0.0), data))


def _copy_tls(one: ssl.SSLSocket, other: ssl.SSLSocket) -> None:
    """Copy until either side ends, in one thread: OpenSSL has no reading beside writing."""
    ways = {one: other, other: one}
    while True:
        ready = [end for end in ways if end.pending()]
        for source in ready or select.select(list(ways), [], [])[0]:
            source.setblocking(False)
            try:
                data = source.recv(1 << 16)
            except ssl.SSLWantReadError:  # a part of a record, or a session ticket
                continue
            except OSError:
                return
            finally:
                source.setblocking(True)
            if not data:
                return
            ways[source].sendall(data)


def interceptor(context: ssl.SSLContext, port: int) -> Handler:
    """TLS inspection: opens the connection, and closes it again towards ``port``."""

    def handle(client: socket.socket) -> None:
        outer = context.wrap_socket(client, server_side=True)
        inner = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        inner.check_hostname, inner.verify_mode = False, ssl.CERT_NONE
        with outer, inner.wrap_socket(socket.create_connection(("127.0.0.1", port))) as server:
            _copy_tls(outer, server)

    return handle


def connect_proxy(
    refuse: Callable[[str, int], str | None] = lambda _, __: None, *, to: int = 0, login: str = ""
) -> Handler:
    """An HTTP proxy for CONNECT.

    Args:
        refuse: Returns an answer's head, or None to let through.
        to: A port of loopback where every tunnel ends instead of where it was asked to.
        login: Basic credentials that it wants, in base64.
    """

    def handle(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(4096)
            if not piece:
                return
            head += piece
        host, _, port = head.split()[1].decode().rpartition(":")
        refusal = refuse(host, int(port))
        if login and f"Basic {login}".encode() not in head:
            refusal = "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic"
        if refusal is not None:
            client.sendall(f"HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n".encode())
            return
        there = ("127.0.0.1", to) if to else (host.strip("[]"), int(port))
        with socket.create_connection(there) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            copy_both(client, server)

    return handle
