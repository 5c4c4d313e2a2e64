"""Which proxy the agent's HTTP client would use, by the rules of httpx, and CONNECT through one."""

import base64
import ipaddress
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

ALWAYS_DIRECT = ("localhost", "127.0.0.1", "::1")  # what processes.environment() exempts
_LONGEST_HEAD = 16384  # bytes; a proxy that sends more before a blank line is no proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy, and where it is named: a variable or a file."""

    url: str
    named_by: str

    @property
    def host(self) -> str:
        """Its name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Its port, by its scheme where none is written."""
        parts = urlsplit(self.url)
        return parts.port or {"https": 443, "http": 80}.get(parts.scheme, 1080)

    @property
    def scheme(self) -> str:
        """Http, https or socks5."""
        return urlsplit(self.url).scheme

    @property
    def shown(self) -> str:
        """The address without a password."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def authorization(self) -> str:
        """The Basic credentials written into the address, if any."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return ""
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return base64.b64encode(pair.encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A proxy's answer to CONNECT other than 200; status 0 where it was not HTTP."""

    status: int
    reason: str
    wants: str = ""


def variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The proxy variables that count; lower case wins, as in curl, urllib and httpx."""
    values = os.environ if environment is None else environment
    found: dict[str, str] = {}
    for name in ("http", "https", "all", "no"):
        for key in (f"{name.upper()}_PROXY", f"{name}_proxy"):
            if values.get(key):
                found[name] = values[key]
    return found


def chosen(host: str, port: int, found: Mapping[str, str]) -> Proxy | None:
    """The proxy for https://``host``:``port``, None for a direct connection."""
    name = "https" if found.get("https") else "all"
    if not (value := found.get(name)) or exempt(host, port, found.get("no", "")):
        return None
    url = value if "://" in value else f"http://{value}"
    return Proxy(url=url, named_by=f"{name.upper()}_PROXY")


def exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY spares ``host``, as httpx reads it: suffixes, but neither CIDR nor '*.'."""
    entries = [entry.strip() for entry in no_proxy.split(",")]
    return any(
        entry == "*" or _matches(host.lower(), port, entry.lower())
        for entry in (*ALWAYS_DIRECT, *filter(None, entries))
    )


def traps(host: str, addresses: list[str], no_proxy: str) -> list[str]:
    """Entries of NO_PROXY that other programs would take as sparing ``host``, and httpx does not.

    Python's requests and curl read CIDR, curl and browsers read '*.'; httpx reads neither.
    """
    found = []
    numbers = [host, *addresses]
    for entry in filter(None, (e.strip() for e in no_proxy.split(","))):
        wildcard = entry.startswith("*.") and host.lower().endswith(entry[1:].lower())
        if wildcard or ("/" in entry and any(_inside(n, entry) for n in numbers)):
            found.append(entry)
    return found


def elsewhere(found: Mapping[str, str]) -> list[Proxy]:
    """Proxies this host knows of that the agent would not use: in HTTP_PROXY alone, or in files."""
    candidates = [(found[n], f"{n.upper()}_PROXY") for n in ("http",) if found.get(n)]
    files = [Path("/etc/environment"), *sorted(Path("/etc/apt/apt.conf.d").glob("*"))]
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        pattern = (
            r"(?im)^\s*(?:export\s+)?(?:https?_proxy\s*=|Acquire::https?::Proxy)\s*\"?([^\s\";]+)"
        )
        candidates += [(value, str(path)) for value in re.findall(pattern, text)]
    urls: dict[str, Proxy] = {}
    for value, place in candidates:
        url = value if "://" in value else f"http://{value}"
        if urlsplit(url).hostname:
            urls.setdefault(url, Proxy(url=url, named_by=place))
    return list(urls.values())


def connect(sock: socket.socket, proxy: Proxy, host: str, port: int) -> Refusal | None:
    """Ask for a tunnel on an open connection to ``proxy``; None when it is there.

    Raises:
        OSError: the connection broke or nothing came.
    """
    name = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}", "User-Agent: fedtui-check"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: Basic {proxy.authorization}")
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head, until = b"", time.monotonic() + (sock.gettimeout() or 5.0)
    while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
        if time.monotonic() > until:
            raise TimeoutError("a proxy that never ends its answer")
        # A byte at a time: what follows the blank line belongs to the tunnel.
        piece = sock.recv(1)
        if not piece:
            raise ConnectionResetError("closed instead of an answer to CONNECT")
        head += piece
        if len(head) == 5 and head != b"HTTP/":
            return Refusal(status=0, reason="not HTTP")
    first, *fields = head.decode("latin-1").split("\r\n")
    match = re.match(r"HTTP/1\.[01] (\d{3}) ?(.*)", first)
    if match is None:
        return Refusal(status=0, reason="not HTTP")
    if 200 <= int(match[1]) < 300:
        return None
    wants = [f.split(":", 1)[1].split()[0] for f in fields if _asks(f)]
    return Refusal(status=int(match[1]), reason=match[2], wants=", ".join(wants))


def _asks(field: str) -> bool:
    name, _, value = field.partition(":")
    return name.lower() == "proxy-authenticate" and bool(value.strip())


def _matches(host: str, port: int, entry: str) -> bool:
    scheme, _, entry = entry.rpartition("://")
    exact = bool(scheme) or entry == "localhost" or _is_address(entry.partition("/")[0])
    entry = entry.partition("/")[0]
    if scheme not in ("", "all", "https"):
        return False
    if not _is_address(entry) and (numbered := re.fullmatch(r"(.+):(\d+)", entry)):
        if int(numbered[2]) != port:
            return False
        entry = numbered[1]
    if exact:
        return host == entry.strip("[]")
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith(f".{entry}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _inside(number: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(number) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
