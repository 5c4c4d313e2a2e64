"""A network namespace of the lab's own: loopback, packet filters, a name server, a coordinator.

It holds no traffic but its own and vanishes with the process that holds it.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedtui import orders
from fedtui.site import Home

_ROOT = Path(__file__).parent.parent
_SETUP = """
mount --make-rprivate / &&
mount --bind {resolv} /etc/resolv.conf &&
ip link set lo up &&
ip link add near type veth peer name far &&
ip addr add 198.51.100.1/24 dev near && ip link set near up && ip link set far up &&
echo ready && exec cat
"""


class Namespace:
    """An entered-by-command network; ``port`` is where its coordinator listens."""

    def __init__(self, home: Home, port: int, folder: Path) -> None:
        self.port = port
        self.authority = (home.keys / "ca.pem").read_text()
        resolv = folder / "resolv.conf"
        resolv.write_text("nameserver 127.0.0.53\n")
        self._holder = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-c", _SETUP.format(resolv=resolv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "no network namespace"
        self._children = [
            self._spawn([sys.executable, "-m", "tests.lab_names"]),
            self._spawn([sys.executable, "-m", "fedtui.flower.coordinator", str(home.path)]),
        ]
        until = time.monotonic() + 30
        while not orders.answers(home, "coordinator"):
            assert time.monotonic() < until, home.log("coordinator")
            time.sleep(0.05)

    def entered(self, words: Sequence[str]) -> list[str]:
        """The command that runs ``words`` inside."""
        return ["nsenter", "-t", str(self._holder.pid), "-n", "-m", f"--wd={_ROOT}", *words]

    def do(self, *words: str, text: str = "") -> None:
        """Run a command inside, to its end."""
        subprocess.run(self.entered(words), input=text, text=True, check=True, capture_output=True)

    @contextlib.contextmanager
    def filtering(self, *rules: str, hook: str = "input") -> Iterator[None]:
        """Packet filter rules, for a while; an empty table is the rest of the time."""
        body = "\n".join(rules)
        chain = f"chain lab {{ type filter hook {hook} priority 0; policy accept;\n{body}\n}}"
        self.do("nft", "-f", "-", text=f"table inet lab {{\n{chain}\n}}\n")
        try:
            yield
        finally:
            self.do("nft", "delete", "table", "inet", "lab")

    @contextlib.contextmanager
    def running(self, words: Sequence[str]) -> Iterator[None]:
        """A server inside, for a while."""
        child = self._spawn(words)
        try:
            yield
        finally:
            _end(child)

    def close(self) -> None:
        """End everything inside; the kernel removes the network itself."""
        for child in self._children:
            _end(child)
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(5)

    def _spawn(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.entered(words), stdin=subprocess.DEVNULL)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(5)
