"""A real SSH server on loopback, and a slow long line in front of it."""

import contextlib
import os
import pwd
import select
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tests.federation import free_port

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
MISSING = "" if SSHD and shutil.which("ssh") else "no sshd or ssh here"


class Line:
    """A TCP proxy that lets ``rate`` bytes a second through each way, ``delay`` seconds late."""

    def __init__(self, target: int, *, rate: float, delay: float) -> None:
        self._target, self._rate, self._delay = target, rate, delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self.carried = 0  # bytes towards the operator
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                for one, other, back in ((near, far, False), (far, near, True)):
                    threading.Thread(
                        target=self._carry, args=(one, other, back), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        free = time.monotonic()  # when the line has sent what it holds
        with contextlib.suppress(OSError, ValueError):
            while True:
                pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
                if select.select([source], [], [], pause)[0]:
                    data = source.recv(128)
                    if not data:
                        break
                    free = max(free, time.monotonic()) + len(data) / self._rate
                    waiting.append((free + self._delay, data))
                while waiting and waiting[0][0] <= time.monotonic():
                    _, data = waiting.popleft()
                    sink.sendall(data)
                    if back:
                        self.carried += len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for one in self._sockets:
            one.close()


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """A server for this very user, and the client's words but for the port: no file of the user's
    own is read or written.
    """
    assert SSHD is not None
    folder.chmod(0o700)
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nPrintMotd no\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation wants it
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < end, "sshd does not listen"
            time.sleep(0.05)
        user = pwd.getpwuid(os.geteuid()).pw_name
        yield port, [
            "ssh", "-tt", "-F", "none", "-i", str(folder / "user"), "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
            f"{user}@127.0.0.1",
        ]  # fmt: skip
    finally:
        process.terminate()
        process.wait(10)
