"""Faults of TLS: whose certificate, which one, and what does not let the handshake through."""

import contextlib
import itertools
import socket
import ssl
import struct
import warnings
from collections.abc import Iterator
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import lab_servers as servers
from tests.lab import Case, Lab, fault
from tests.lab_authority import Authority, of_federation, weak_key
from tests.lab_servers import Handler, context_of, listening, tls

_HOST = "127.0.0.1"


def _presenting(lab: Lab, **terms: Any) -> Iterator[Case]:
    """A server with the federation's own certificate, but for ``terms``."""
    names = terms.pop("names", (_HOST,))
    authority = of_federation(lab.folder, lab.coordinator.keys)
    yield from _serving(
        lab, tls(context_of(authority.issue(*names, **terms)), servers.coordinator())
    )


def _serving(lab: Lab, handler: Handler) -> Iterator[Case]:
    with listening(handler) as port:
        yield Case(target=lab.target(_HOST, port))


@fault("TLS inspection", "tls-intercepted")
def intercepted(lab: Lab) -> Iterator[Case]:
    box = Authority(lab.folder, "Hospital TLS Inspection CA").issue(_HOST)
    yield from _serving(lab, servers.interceptor(context_of(box), lab.port))


@fault("TLS inspection, before joining", "tls-intercepted")
def intercepted_early(lab: Lab) -> Iterator[Case]:
    box = Authority(lab.folder, "Hospital TLS Inspection CA").issue(_HOST)
    with listening(servers.interceptor(context_of(box), lab.port)) as port:
        yield Case(target=lab.target(_HOST, port, authority=""))


@fault("TLS inspection with a block page", "tls-foreign")
def block_page(lab: Lab) -> Iterator[Case]:
    box = Authority(lab.folder, "Hospital TLS Inspection CA").issue(_HOST)
    yield from _serving(lab, tls(context_of(box), servers.page))


@fault("another federation's coordinator", "tls-wrong-authority")
def other_federation(lab: Lab) -> Iterator[Case]:
    other = Authority(lab.folder, "fedtui federation of elsewhere").issue(_HOST)
    yield from _serving(lab, tls(context_of(other), servers.coordinator()))


@fault("the federation was set up anew", "tls-wrong-authority")
def anew(lab: Lab) -> Iterator[Case]:
    again = Authority(lab.folder, "fedtui federation of coordinator-here").issue(_HOST)
    yield from _serving(lab, tls(context_of(again), servers.coordinator()))


@fault("the certificate expired", "tls-expired")
def expired(lab: Lab) -> Iterator[Case]:
    yield from _presenting(lab, begins=-91, ends=-1)


@fault("the certificate is not yet valid", "tls-not-yet-valid")
def early(lab: Lab) -> Iterator[Case]:
    yield from _presenting(lab, begins=2, ends=90)


@fault("the certificate expires in days", "tls-expiring")
def expiring(lab: Lab) -> Iterator[Case]:
    yield from _presenting(lab, ends=20)


@fault("the certificate is for another name", "tls-wrong-name")
def wrong_name(lab: Lab) -> Iterator[Case]:
    yield from _presenting(lab, names=("other.test",))


@fault("the certificate's key is weak", "tls-weak-key")
def weak(lab: Lab) -> Iterator[Case]:
    yield from _presenting(lab, key=weak_key())


@fault("the certificate is a client's", "tls-wrong-purpose")
def purpose(lab: Lab) -> Iterator[Case]:
    yield from _presenting(lab, usage=ExtendedKeyUsageOID.CLIENT_AUTH)


@fault("only TLS 1.1", "tls-too-old")
def too_old(lab: Lab) -> Iterator[Case]:
    files = of_federation(lab.folder, lab.coordinator.keys).issue(_HOST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the fault
        context = context_of(files, lowest=ssl.TLSVersion.TLSv1, highest=ssl.TLSVersion.TLSv1_1)
    yield from _serving(lab, tls(context, servers.coordinator()))


@fault("held down to TLS 1.2", "tls-old-version")
def held_down(lab: Lab) -> Iterator[Case]:
    files = of_federation(lab.folder, lab.coordinator.keys).issue(_HOST)
    context = context_of(files, highest=ssl.TLSVersion.TLSv1_2)
    yield from _serving(lab, tls(context, servers.coordinator()))


@fault("a client certificate is wanted", "tls-refused")
def no_cipher(lab: Lab) -> Iterator[Case]:
    files = of_federation(lab.folder, lab.coordinator.keys).issue(_HOST)
    context = context_of(files, highest=ssl.TLSVersion.TLSv1_2)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=lab.authority)
    yield from _serving(lab, tls(context, servers.coordinator()))


@fault("the coordinator runs without TLS", "tls-plain")
def plain(lab: Lab) -> Iterator[Case]:
    yield from _serving(lab, servers.strict(servers.coordinator()))


@fault("a captive portal", "tls-captive-page")
def captive(lab: Lab) -> Iterator[Case]:
    yield from _serving(lab, servers.strict(servers.login))


@fault("a block page in clear", "tls-captive-page")
def blocked(lab: Lab) -> Iterator[Case]:
    yield from _serving(lab, servers.http(servers.page))


@fault("another service at the port", "tls-other-service")
def other(lab: Lab) -> Iterator[Case]:
    def banner(client: socket.socket) -> None:
        client.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        while client.recv(1024):
            pass

    yield from _serving(lab, banner)


@fault("accepted, then closed", "tls-closed-at-once")
def accept_close(lab: Lab) -> Iterator[Case]:
    yield from _serving(lab, lambda _: None)


@fault("reset when TLS begins", "tls-closed")
def reset(lab: Lab) -> Iterator[Case]:
    def cut(client: socket.socket) -> None:
        client.recv(4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    yield from _serving(lab, cut)


@fault("nft resets packets over 200 bytes", "tls-closed", needs=("root",))
def inspected(lab: Lab) -> Iterator[Case]:
    port = lab.namespace.port
    rule = f"tcp dport {port} ct state established meta length > 200 reject with tcp reset"
    with lab.namespace.filtering(rule):
        yield Case(target=lab.within(), inside=True)


@fault("a filter reads the server name", "tls-name-filtered")
def named(lab: Lab) -> Iterator[Case]:
    def handle(client: socket.socket) -> None:
        if b"localhost" not in client.recv(4096, socket.MSG_PEEK):
            servers.relay(lab.port)(client)

    with listening(handle) as port:
        yield Case(target=lab.target("localhost", port))


@fault("opens, then says nothing", "tls-silent")
def hanging(lab: Lab) -> Iterator[Case]:
    def swallow(client: socket.socket) -> None:
        while client.recv(4096):
            pass

    yield from _serving(lab, swallow)


@fault("one handshake in three is cut", "tls-flaky")
def flaky(lab: Lab) -> Iterator[Case]:
    count = itertools.count()

    def handle(client: socket.socket) -> None:
        # The first connection is TCP's own look.
        if next(count) != 1:
            with contextlib.suppress(OSError):
                servers.relay(lab.port)(client)

    yield from _serving(lab, handle)


@fault("the federation's authority expired", "tls-authority-expired")
def old_authority(lab: Lab) -> Iterator[Case]:
    old = Authority(lab.folder, "fedtui federation of yore", ends=-0.5)
    with listening(tls(context_of(old.issue(_HOST)), servers.coordinator())) as port:
        yield Case(target=lab.target(_HOST, port, authority=old.pem))


@fault("the invitation's authority is damaged", "tls-no-authority")
def damaged(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.target(_HOST, authority="-----BEGIN CERTIFICATE-----\n"))
