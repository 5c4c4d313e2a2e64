"""What this host tells about a home beside its journal: live processes, disk, certificate."""

import base64
import contextlib
import os
import shutil
import time
from calendar import timegm
from dataclasses import dataclass, field

from fedtui import processes, site
from fedtui.errors import OperatorError
from fedtui.site import Home

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A look at the host.

    Attributes:
        alive: Id of every live process of the home, by name.
        memory: Their resident bytes, by name; the trainer's too, where its id is known.
        disk_free: Bytes left where the home lies.
        certificate: Whose certificate runs out first ('server', 'authority'); '' without one.
        days: Whole days until then.
    """

    path: str
    alive: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    disk_free: int = 0
    certificate: str = ""
    days: int = 0


def look(home: Home, known: dict[str, int]) -> Host:
    """The host now; ``known`` are process ids from the journal, for those without a lock."""
    alive = {
        name: pid
        for name in processes.MODULES
        if (pid := processes.running(home, name)) is not None
    }
    memory = {name: size for name, pid in alive.items() if (size := _resident(pid))}
    if "agent" in alive and "trainer" in known and (size := _resident(known["trainer"])):
        alive["trainer"] = known["trainer"]
        memory["trainer"] = size
    ends = _certificates(home)
    first = min(ends, key=lambda name: ends[name], default="")
    return Host(
        path=str(home.path),
        alive=alive,
        memory=memory,
        disk_free=shutil.disk_usage(home.path).free,
        certificate=first,
        days=int((ends[first] - time.time()) // 86400) if first else 0,
    )


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - every 5 s
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _certificates(home: Home) -> dict[str, float]:
    """When each certificate that this home leans on runs out, seconds since 1970."""
    texts = {}
    server = home.keys / "server.pem"
    if server.exists():
        texts["server"] = server.read_text(encoding="ascii")
    if home.membership.exists():
        with contextlib.suppress(OperatorError):  # edited badly; the agent says so
            texts["authority"] = site.load_membership(home).authority
    return {name: not_after(text) for name, text in texts.items()}


def not_after(certificate: str) -> float:
    """When a PEM certificate runs out, seconds since 1970.

    Reads five ASN.1 headers rather than import cryptography: 60 ms and 9 MB in a viewer.
    """
    body = certificate.split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0]
    data = base64.b64decode(body)
    start, _ = _header(data, 0)  # Certificate
    start, _ = _header(data, start)  # TBSCertificate
    if data[start] == 0xA0:  # version
        start = _end(data, start)
    for _ in range(3):  # serial number, signature algorithm, issuer
        start = _end(data, start)
    start, _ = _header(data, start)  # validity
    start = _end(data, start)  # not before
    inner, size = _header(data, start)
    text = data[inner : inner + size].decode("ascii").rstrip("Z")
    form = "%y%m%d%H%M%S" if data[start] == 0x17 else "%Y%m%d%H%M%S"
    return float(timegm(time.strptime(text, form)))


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Where the value at ``at`` begins, and its length."""
    size = data[at + 1]
    if size < 0x80:
        return at + 2, size
    octets = size & 0x7F
    return at + 2 + octets, int.from_bytes(data[at + 2 : at + 2 + octets], "big")


def _end(data: bytes, at: int) -> int:
    start, size = _header(data, at)
    return start + size
