"""Faults behind a good handshake: gateways with limits and pages, versions, keys, clocks."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedtui import keys, operations
from fedtui.site import Home
from tests import lab_servers as servers
from tests.federation import free_port
from tests.lab import Case, Lab, fault
from tests.lab_authority import of_federation
from tests.lab_servers import context_of, listening, tls

_HOST = "127.0.0.1"
_NGINX = """
daemon off; worker_processes 1; error_log {folder}/error.log crit; pid {folder}/pid;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    {limit}
    location / {{ {location} }}
  }}
}}
"""


@contextmanager
def _nginx(lab: Lab, location: str, limit: str = "") -> Iterator[int]:
    """A real nginx that holds the federation's certificate, as a DMZ gateway does."""
    port = free_port()
    folder = lab.folder / f"nginx-{port}"
    folder.mkdir()
    folder.chmod(0o755)
    certificate, key = of_federation(lab.folder, lab.coordinator.keys).issue(_HOST)
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, port=port, certificate=certificate, key=key,
                      limit=limit, location=location)
    )  # fmt: skip
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program
    child = subprocess.Popen([program, "-c", str(config), "-p", str(folder)])
    try:
        time.sleep(0.4)
        yield port
    finally:
        child.terminate()
        child.wait(5)


def _upstream(port: int) -> str:
    return f"proxy_pass https://127.0.0.1:{port}; proxy_http_version 1.1;"


@fault("nginx limits bodies to 1 MB", "body-limit", also=("hello-gateway",), needs=("nginx",))
def body(lab: Lab) -> Iterator[Case]:
    with _nginx(lab, _upstream(lab.port)) as port:
        yield Case(target=lab.target(_HOST, port), home=lab.site)


@fault("nginx ends TLS before the coordinator", "hello-gateway", needs=("nginx",))
def gateway(lab: Lab) -> Iterator[Case]:
    with _nginx(lab, _upstream(lab.port), "client_max_body_size 8m;") as port:
        yield Case(target=lab.target(_HOST, port), home=lab.site)


@fault("nginx stands before nothing", "hello-gateway-down", needs=("nginx",))
def gateway_down(lab: Lab) -> Iterator[Case]:
    with _nginx(lab, _upstream(free_port()), "client_max_body_size 8m;") as port:
        yield Case(target=lab.target(_HOST, port))


@fault("a page behind TLS", "hello-page")
def page(lab: Lab) -> Iterator[Case]:
    yield from _answering(lab, servers.page)


@fault("another service behind TLS", "hello-foreign")
def foreign(lab: Lab) -> Iterator[Case]:
    yield from _answering(lab, lambda _, __: servers.answer(b'{"status":"UP"}'))


@fault("TLS, then silence", "hello-none")
def silence(lab: Lab) -> Iterator[Case]:
    yield from _answering(lab, lambda _, __: b"")


@fault("the coordinator speaks a newer protocol", "version-protocol")
def protocol(lab: Lab) -> Iterator[Case]:
    yield from _answering(lab, servers.coordinator(version="9.0.0", protocol=9))


@fault("minor versions differ", "version-differs")
def minor(lab: Lab) -> Iterator[Case]:
    yield from _answering(lab, servers.coordinator(version="0.99.0"))


@fault("this clock is 3 s ahead", "clock-ahead")
def a_little_ahead(lab: Lab) -> Iterator[Case]:
    yield from _answering(lab, servers.coordinator(ahead=-3.0))


@fault("this clock is 30 s behind", "clock-behind")
def a_little_behind(lab: Lab) -> Iterator[Case]:
    yield from _answering(lab, servers.coordinator(ahead=30.0))


@fault("this clock is 20 s ahead (faketime)", "clock-ahead", needs=("faketime",))
def ahead(lab: Lab) -> Iterator[Case]:
    yield _at(lab, "+20s")


@fault("this clock is 100 days ahead (faketime)", "clock-ahead", also=("tls-clock",),
       needs=("faketime",))  # fmt: skip
def far_ahead(lab: Lab) -> Iterator[Case]:
    yield _at(lab, "+100d")


@fault("this clock is 20 minutes behind (faketime)", "clock-behind", also=("tls-clock",),
       needs=("faketime",))  # fmt: skip
def far_behind(lab: Lab) -> Iterator[Case]:
    yield _at(lab, "-20m")


@fault("the coordinator does not know this site", "key-unknown")
def stranger(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.target(_HOST), home=_joined(lab, "lund"))


@fault("the coordinator knows another key", "key-differs")
def forged(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.target(_HOST), home=_joined(lab, "halland"))


@fault("the coordinator has revoked the key", "key-revoked")
def revoked(lab: Lab) -> Iterator[Case]:
    def respond(method: str, path: bytes) -> bytes:
        if method == "POST":
            return servers.answer(b'{"error":"revoked"}', status="403 Forbidden")
        return servers.coordinator()(method, path)

    yield from _answering(lab, respond, home=lab.site)


def _answering(lab: Lab, respond: servers.Respond, home: Home | None = None) -> Iterator[Case]:
    files = of_federation(lab.folder, lab.coordinator.keys).issue(_HOST)
    with listening(tls(context_of(files), respond)) as port:
        yield Case(target=lab.target(_HOST, port), home=home)


def _at(lab: Lab, moment: str) -> Case:
    prefix = ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", moment)
    return Case(target=lab.target(_HOST), prefix=prefix)


def _joined(lab: Lab, name: str) -> Home:
    """A home of that name with a key of its own, which the coordinator was never shown."""
    home = Home(Path(lab.folder) / f"stranger-{name}")
    if not home.path.exists():
        operations.create(home, name)
        shutil.copy(lab.site.membership, home.membership)
        keys.load_private(home.keys / "node.key")
    return home
