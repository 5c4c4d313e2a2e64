"""The fault lab: real faults on loopback or in a network namespace of its own, and the verdicts.

A fault is a context manager that provokes it and yields the case to look at. What it needs
(root, a Debian package) is named, so that it is skipped with that reason where it is missing.
"""

import contextlib
import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtui import checks, keys, operations
from fedtui.checks import Finding, State, Target
from fedtui.site import Home
from tests.federation import free_port
from tests.lab_namespace import Namespace

NAMES = ("127.0.0.1", "127.0.0.2", "::1", "coordinator.test", "slow.test", "two.test", "lazy.test")
_PARTS = ("transport", "proxies", "certificates", "gateways", "deep", "hosts")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What to look at once a fault is there.

    Attributes:
        prefix: Words before the probe's command, e.g. faketime.
        inside: Whether to look from inside the lab's namespace.
        options: Further arguments of ``checks.run``.
    """

    target: Target | None
    home: Home | None = None
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    inside: bool = False
    options: dict[str, Any] = field(default_factory=dict)


Provocation = Callable[["Lab"], "contextlib.AbstractContextManager[Case]"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, and the codes that name it rightly.

    Attributes:
        codes: Any of these names it.
        also: True consequences that may be named beside it.
        needs: Programs, or 'root'.
    """

    name: str
    codes: tuple[str, ...]
    provoke: Provocation
    also: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What this machine lacks for it."""
        lacks = [n for n in self.needs if n != "root" and not _program(n)]
        if "root" in self.needs and not _may_unshare():
            lacks.append("root in network namespaces")
        return lacks


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the checks said of a fault."""

    fault: Fault
    said: tuple[str, ...]
    seconds: float

    @property
    def right(self) -> bool:
        """Whether it was named, and nothing was that is not there."""
        allowed = {*self.fault.codes, *self.fault.also}
        return bool(set(self.said) & set(self.fault.codes)) and set(self.said) <= allowed


_FAULTS: list[Fault] = []


def fault(
    name: str, *codes: str, also: tuple[str, ...] = (), needs: tuple[str, ...] = ()
) -> Callable[[Callable[["Lab"], Iterator[Case]]], Provocation]:
    """Register a generator that provokes ``name``, yields its case, and cleans up."""

    def register(body: Callable[["Lab"], Iterator[Case]]) -> Provocation:
        provoke = contextlib.contextmanager(body)
        _FAULTS.append(Fault(name=name, codes=codes, provoke=provoke, also=also, needs=needs))
        return provoke

    return register


def faults() -> list[Fault]:
    """Every fault of the ``lab_*`` modules."""
    for part in _PARTS:
        importlib.import_module(f"tests.lab_{part}")
    return _FAULTS


class Lab:
    """A coordinator on loopback, another in a namespace when asked for, and one site of both."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self.site = Home(self.folder / "site")
        operations.create(self.site, "halland")
        self._closing = contextlib.ExitStack()
        self.coordinator, self.port = self._coordinator("here")
        operations.up(self.coordinator)
        self._closing.callback(operations.down, self.coordinator)
        text = operations.invite(
            self.coordinator,
            "halland",
            public_key=self.site.keys / "node.pub",
            address=f"127.0.0.1:{self.port}",
        )
        (self.folder / "invitation").write_text(text)
        operations.join(self.site, self.folder / "invitation")
        self.authority = (self.coordinator.keys / "ca.pem").read_text()

    @functools.cached_property
    def namespace(self) -> Namespace:
        """A network of its own, with name server and coordinator; needs root."""
        home, port = self._coordinator("inside")
        made = Namespace(home, port, self.folder)
        self._closing.callback(made.close)
        return made

    @functools.cached_property
    def noise(self) -> set[str]:
        """What is really amiss with this machine, and no fault of the lab."""
        findings = checks.run(self.target("127.0.0.1"), home=self.site)
        here = {name for name in checks.names() if not checks.load(name).NETWORK}
        return {f.code for f in findings if f.check in here and f.state in _UNWELL}

    def target(self, host: str, port: int | None = None, **changes: Any) -> Target:
        """The coordinator on loopback, or what stands before it at another port."""
        settings = {"authority": self.authority, **changes}
        return Target(host=host, port=port or self.port, **settings)

    def within(self, host: str = "127.0.0.1", port: int | None = None, **changes: Any) -> Target:
        """The coordinator in the namespace."""
        settings = {"authority": self.namespace.authority, **changes}
        return Target(host=host, port=port or self.namespace.port, **settings)

    def look(self, case: Case) -> list[Finding]:
        """Run the checks on a case: here, or in a process of their own where it must be."""
        if not case.inside and not case.prefix:
            with _variables(case.environment):
                return checks.run(case.target, home=case.home, **case.options)
        request = {
            "target": case.target and _fields(case.target),
            "home": str(case.home.path) if case.home else None,
            "options": case.options,
        }
        words = [*case.prefix, sys.executable, "-m", "tests.lab_probe", json.dumps(request)]
        if case.inside:
            words = self.namespace.entered(words)
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        done = subprocess.run(
            words,
            env={**clean, **case.environment},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        return [Finding(**{**f, "state": State(f["state"])}) for f in document["findings"]]

    def judge(self, fault: Fault) -> Verdict:
        """Provoke a fault and look."""
        with fault.provoke(self) as case:
            began = time.monotonic()
            findings = self.look(case)
            seconds = time.monotonic() - began
        said = tuple(f.code for f in findings if f.state in _UNWELL and f.code not in self.noise)
        return Verdict(fault=fault, said=tuple(dict.fromkeys(said)), seconds=seconds)

    def close(self) -> None:
        """End everything and remove the homes."""
        self._closing.close()
        shutil.rmtree(self.folder)

    def _coordinator(self, name: str) -> tuple[Home, int]:
        home, port = Home(self.folder / name), free_port()
        operations.create(
            home, f"coordinator-{name}", coordinator=True, data=False, host="::", port=port,
            names=NAMES,
        )  # fmt: skip
        public = keys.load_private(self.site.keys / "node.key").public_key()
        (home.roster / "halland.pub").write_bytes(keys.public_bytes(public))
        return home, port


_UNWELL = (State.WARN, State.FAIL)


def _fields(target: Target) -> dict[str, Any]:
    return {
        "host": target.host,
        "port": target.port,
        "authority": target.authority,
        "addresses": list(target.addresses),
    }


@contextlib.contextmanager
def _variables(changes: dict[str, str]) -> Iterator[None]:
    """Proxy variables exactly as given, and whatever else is set."""
    before = dict(os.environ)
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _program(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


@functools.cache
def _may_unshare() -> bool:
    """Whether namespaces can be made here, and hold packet filters."""
    if os.geteuid() != 0 or not all(map(_program, ("unshare", "nsenter", "ip", "nft"))):
        return False
    trial = "ip link set lo up && nft add table inet trial"
    return subprocess.run(["unshare", "-n", "-m", "sh", "-c", trial], check=False).returncode == 0
