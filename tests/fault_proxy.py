"""A hospital's proxy that goes wrong on purpose, in front of a real coordinator."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.lab_authority import Authority, of_federation
from tests.lab_servers import Respond, answer, context_of, copy_both, http, page

# Of the client's connection, once CONNECT was answered with 200.
Fault: TypeAlias = Callable[[socket.socket], None]
_WELCOME = b"HTTP/1.1 200 Connection established\r\n\r\n"


class FaultProxy:
    """Answers CONNECT by tunnels to ``target``, or as the fault of the moment has it."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._fault: tuple[bytes, Fault | None] = (_WELCOME, None)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.tunnels = self.faults = 0
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def break_(self, head: bytes, fault: Fault | None) -> None:
        """From now on answer CONNECT with ``head``, then do ``fault``; what was open is cut."""
        self._fault = (head, fault)
        self._cut()

    def mend(self) -> None:
        """Let tunnels through again."""
        self._fault = (_WELCOME, None)
        self._cut()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._acceptor.join(5)
        self._cut()
        for thread in self._threads:
            thread.join(5)

    def _cut(self) -> None:
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._threads = [t for t in self._threads if t.is_alive()]
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        with client, contextlib.suppress(OSError, ValueError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asked = b""
            while b"\r\n\r\n" not in asked:
                piece = client.recv(4096)
                if not piece:
                    return
                asked += piece
            head, fault = self._fault
            self.faults += fault is not None or not head.startswith(_WELCOME[:12])
            client.sendall(head)
            if not head.startswith(_WELCOME[:12]):
                return
            if fault is not None:
                fault(client)
                return
            self.tunnels += 1
            with socket.create_connection(self._target) as server:
                self._open.add(server)
                copy_both(client, server)
                self._open.discard(server)
        self._open.discard(client)


def connect(head: str) -> tuple[bytes, Fault | None]:
    """The proxy itself answers CONNECT so; an empty head hangs up."""
    if not head:
        return b"", None
    return f"HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n".encode(), None


def cut(client: socket.socket) -> None:
    """Hear the hello, then close: the other end sees an EOF in its TLS handshake."""
    client.recv(1 << 16)


def reset(client: socket.socket) -> None:
    client.recv(4096)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def swallow(client: socket.socket) -> None:
    while client.recv(4096):
        pass


def in_clear(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(answer(b"<html>no TLS here</html>", status="400 Bad Request", kind="text/html"))


class Box:
    """What ends TLS on the way: with the federation's own certificate, or with another."""

    def __init__(self, folder: Path, keys: Path, host: str) -> None:
        self._folder, self._host = folder, host
        self._ours = of_federation(folder, keys)

    def answering(self, respond: Respond) -> Fault:
        """A gateway that the site trusts, which answers for the coordinator."""
        return self._serving(context_of(self._ours.issue(self._host)), respond)

    def status(self, line: str, body: bytes = b"{}", **more: str) -> Fault:
        return self.answering(lambda *_: answer(body, status=line, **more))  # type: ignore[arg-type]

    def inspecting(self) -> Fault:
        """A middlebox with a certificate authority of its own."""
        other = Authority(self._folder, "Hospital TLS Inspection CA")
        return self._serving(context_of(other.issue(self._host)), page)

    def expired(self) -> Fault:
        return self._serving(context_of(self._ours.issue(self._host, begins=-9, ends=-1)), page)

    def misnamed(self) -> Fault:
        return self._serving(context_of(self._ours.issue("other.test")), page)

    def _serving(self, context: ssl.SSLContext, respond: Respond) -> Fault:
        return lambda client: http(respond)(context.wrap_socket(client, server_side=True))
