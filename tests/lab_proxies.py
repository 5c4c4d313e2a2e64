"""Faults of HTTP proxies: real tinyproxy, and proxies of our own that refuse in every way."""

import socket
import time
from collections.abc import Iterator

from tests.federation import free_port
from tests.lab import Case, Lab, fault
from tests.lab_authority import Authority
from tests.lab_servers import (
    connect_proxy,
    context_of,
    interceptor,
    listening,
    page,
    strict,
)  # fmt: skip

_HOST = "127.0.0.2"  # 127.0.0.1 never goes through a proxy


def _through(lab: Lab, port: int, **more: str) -> Case:
    return Case(
        target=lab.target(_HOST),
        environment={"HTTPS_PROXY": f"http://127.0.0.1:{port}", **more},
    )


@fault("the proxy wants a login", "proxy-login")
def login(lab: Lab) -> Iterator[Case]:
    head = "407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate"
    with listening(connect_proxy(lambda _, __: head)) as port:
        yield _through(lab, port)


@fault("the proxy forbids the host", "proxy-forbidden")
def forbidden(lab: Lab) -> Iterator[Case]:
    with listening(connect_proxy(lambda _, __: "403 Forbidden")) as port:
        yield _through(lab, port)


@fault("the proxy forbids the port", "proxy-port")
def forbidden_port(lab: Lab) -> Iterator[Case]:
    with listening(connect_proxy(lambda _, p: None if p == 443 else "403 Forbidden")) as port:
        yield _through(lab, port)


@fault("tinyproxy allows only 443", "proxy-port", needs=("tinyproxy", "root"))
def tinyproxy_port(lab: Lab) -> Iterator[Case]:
    yield from _tinyproxy(lab, "ConnectPort 443")


@fault("tinyproxy cannot reach the coordinator", "proxy-upstream", needs=("tinyproxy", "root"))
def tinyproxy_upstream(lab: Lab) -> Iterator[Case]:
    yield from _tinyproxy(lab, "", port=free_port())


@fault("the proxy answers 502", "proxy-upstream")
def upstream(lab: Lab) -> Iterator[Case]:
    with listening(connect_proxy(lambda _, __: "502 Bad Gateway")) as port:
        yield _through(lab, port)


@fault("the proxy is down", "proxy-down")
def down(lab: Lab) -> Iterator[Case]:
    yield _through(lab, free_port())


@fault("the proxy hangs up", "proxy-closed")
def hangs_up(lab: Lab) -> Iterator[Case]:
    with listening(lambda client: client.recv(1) and None) as port:
        yield _through(lab, port)


@fault("the proxy says nothing", "proxy-silent")
def says_nothing(lab: Lab) -> Iterator[Case]:
    with listening(_wait) as port:
        yield _through(lab, port)


@fault("what is named as proxy is none", "proxy-foreign")
def foreign(lab: Lab) -> Iterator[Case]:
    with listening(
        lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n") or _wait(client)
    ) as port:
        yield _through(lab, port)


@fault("a SOCKS proxy", "proxy-kind")
def socks(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.target(_HOST), environment={"ALL_PROXY": "socks5://127.0.0.1:1080"})


@fault("NO_PROXY names a network, and the proxy refuses", "proxy-exemption")
def network_trap(lab: Lab) -> Iterator[Case]:
    with listening(connect_proxy(lambda _, __: "403 Forbidden")) as port:
        yield _through(lab, port, NO_PROXY="127.0.0.0/8")


@fault("NO_PROXY names a network, and the proxy works", "proxy-exemption")
def network_trap_warned(lab: Lab) -> Iterator[Case]:
    with listening(connect_proxy()) as port:
        yield _through(lab, port, NO_PROXY="127.0.0.0/8")


@fault("the proxy's name is unknown", "proxy-unknown", needs=("root",))
def unknown(lab: Lab) -> Iterator[Case]:
    yield Case(
        target=lab.within(_HOST),
        environment={"HTTPS_PROXY": "http://nowhere.test:3128"},
        inside=True,
    )


@fault(
    "direct is dropped, and the proxy that works is not set",
    "tcp-proxy-unset",
    also=("tcp-dropped", "tcp-silent"),
    needs=("root", "tinyproxy"),
)
def unset(lab: Lab) -> Iterator[Case]:
    inner = lab.namespace
    port, config = free_port(), lab.folder / "tinyproxy-inside.conf"
    config.write_text(_config(port, "Bind 127.0.0.3"))
    # Only what does not come from the proxy is dropped: the direct way is closed.
    rule = f"ip saddr != 127.0.0.3 tcp dport {inner.port} drop"
    with inner.running(["tinyproxy", "-d", "-c", str(config)]), inner.filtering(rule):
        time.sleep(0.5)
        yield Case(
            target=lab.within(_HOST),
            environment={"HTTP_PROXY": f"http://127.0.0.1:{port}"},
            inside=True,
        )


@fault("the proxy opens the tunnel and inspects TLS", "tls-intercepted")
def inspecting(lab: Lab) -> Iterator[Case]:
    box = Authority(lab.folder, "Hospital Proxy CA").issue(_HOST)
    with (
        listening(interceptor(context_of(box), lab.port)) as inner,
        listening(connect_proxy(to=inner)) as port,
    ):
        yield _through(lab, port)


@fault("the proxy opens the tunnel and shows a page", "tls-captive-page")
def showing(lab: Lab) -> Iterator[Case]:
    with listening(strict(page)) as inner, listening(connect_proxy(to=inner)) as port:
        yield _through(lab, port)


@fault("a SOCKS-only port is named as HTTP proxy", "proxy-closed")
def socks_as_http(lab: Lab) -> Iterator[Case]:
    with listening(lambda client: client.recv(4096) and None) as port:
        yield _through(lab, port)


def _tinyproxy(lab: Lab, line: str, *, port: int | None = None) -> Iterator[Case]:
    inner, own = lab.namespace, free_port()
    config = lab.folder / f"tinyproxy-{own}.conf"
    config.write_text(_config(own, line))
    with inner.running(["tinyproxy", "-d", "-c", str(config)]):
        time.sleep(0.5)
        yield Case(
            target=lab.within(_HOST, port),
            environment={"HTTPS_PROXY": f"http://127.0.0.1:{own}"},
            inside=True,
        )


def _config(port: int, line: str) -> str:
    return f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Critical\n{line}\n"


def _wait(client: socket.socket) -> None:
    while client.recv(1024):
        pass
