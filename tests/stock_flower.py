"""Stock Flower beside ours: a SuperLink, SuperNodes with TLS and node keys, and `flwr run`.

Everything is Flower's own, as its documentation deploys it; only certificates and keys are made
with fedtui's functions. ``python tests/stock_flower.py 1`` times a payload of 1 MB.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedtui import certificates

_BIN = Path(sys.executable).parent
_READY_SECONDS = 60.0
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "bench"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "fedtui"

[tool.flwr.app.components]
serverapp = "server:app"
clientapp = "client:app"

[tool.flwr.app.config]
rounds = 3
megabytes = 1.0
"""
# The strategy is Flower's FedAvg; it only notes when an exchange began and was over.
_SERVER = """
import json, os, time
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()

def note(what, round):
    with open(os.environ["BENCH_NOTES"], "a") as file:
        file.write(json.dumps({"what": what, "round": round, "time": time.time()}) + "\\n")

class Noted(FedAvg):
    def configure_train(self, round, *rest):
        note("train", round)
        return super().configure_train(round, *rest)
    def aggregate_train(self, round, replies):
        result = super().aggregate_train(round, replies)
        note("trained", round)
        return result
    def configure_evaluate(self, round, *rest):
        return super().configure_evaluate(round, *rest)
    def aggregate_evaluate(self, round, replies):
        result = super().aggregate_evaluate(round, replies)
        note("evaluated", round)
        return result

@app.main()
def main(grid, context):
    size = int(context.run_config["megabytes"] * 1e6 / 4)
    first = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    strategy = Noted(min_train_nodes=2, min_evaluate_nodes=2, min_available_nodes=2)
    strategy.start(grid, ArrayRecord([first]), num_rounds=int(context.run_config["rounds"]))
"""
_CLIENT = """
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    vector = message.content["arrays"].to_numpy_ndarrays()[0]
    content = {"arrays": ArrayRecord([vector + 1]), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)

@app.evaluate()
def evaluate(message, context):
    message.content["arrays"].to_numpy_ndarrays()
    metrics = MetricRecord({"num-examples": 1, "loss": 0.0})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
"""


@dataclass
class Deployment:
    """A running SuperLink with its SuperNodes.

    Attributes:
        environment: What every Flower process here gets.
        notes: A file that an app may append to, as BENCH_NOTES.
        peaks: Peak resident memory in MB (1e6 bytes) of every kind of process, by name.
        most: The most that all its processes held at once, in MB.
    """

    folder: Path
    port: int
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    most: float = 0.0

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def flwr(self, *words: str) -> str:
        """The output of one ``flwr`` command. Raises CalledProcessError where it fails."""
        done = subprocess.run(
            [_BIN / "flwr", *words], env=self.environment, cwd=self.folder, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def start(self, program: str, *words: str) -> None:
        """Start one of Flower's own programs; it ends with the deployment."""
        with (self.folder / f"{program}-{len(self.processes)}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [_BIN / program, *words], env=self.environment, cwd=self.folder,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )
            )  # fmt: skip

    def add_node(self, name: str, number: int) -> None:
        """Register a SuperNode's key and start it."""
        key = ec.generate_private_key(ec.SECP384R1())
        private, public = self.folder / name, self.folder / f"{name}.pub"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
        private.chmod(0o600)
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            )
        )
        self.flwr("supernode", "register", str(public), "here", "--format", "json")
        self.start(
            "flower-supernode", "--superlink", f"127.0.0.1:{self.port}",
            "--root-certificates", "ca.pem", "--auth-supernode-private-key", str(private),
            "--node-config", f"partition-id={number} num-partitions=2",
            "--port", str(free_port()),
        )  # fmt: skip

    def run(
        self, app: dict[str, str], config: dict[str, Any]
    ) -> tuple[float, list[dict[str, Any]]]:
        """Carry out an app, given as file name and text; when it was submitted, and its notes."""
        folder = self.folder / "app"
        folder.mkdir(exist_ok=True)
        for name, text in app.items():
            (folder / name).write_text(text)
        self.notes.unlink(missing_ok=True)
        words = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        began = time.time()
        output = self.flwr("run", str(folder), "here", "--stream", "--run-config", words)
        if not self.notes.exists():
            raise RuntimeError(output[-3000:])
        return began, [json.loads(line) for line in self.notes.read_text().splitlines()]

    def watch(self) -> None:
        """Follow every process's memory until the SuperLink is gone."""
        while self.processes[0].poll() is None:
            total = 0.0
            for process in self.processes:
                with contextlib.suppress(psutil.Error):
                    parent = psutil.Process(process.pid)
                    total += sum(map(self._weigh, (parent, *parent.children(recursive=True))))
            self.most = max(self.most, total)
            time.sleep(0.25)

    def _weigh(self, process: psutil.Process) -> float:
        """The process's resident memory in MB; its peak is noted by its program's name."""
        with contextlib.suppress(psutil.Error, OSError):
            words = [Path(word).name for word in process.cmdline()]
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            sizes = dict(line.split(":", 1) for line in status if line.startswith("Vm"))
            now, top = (int(sizes[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
            name = next((word for word in words if word.startswith("fl")), "other")
            self.peaks[name] = max(self.peaks.get(name, 0.0), top)
            return now
        return 0.0


@contextlib.contextmanager
def deployment(nodes: int = 2) -> Iterator[Deployment]:
    """A SuperLink and ``nodes`` SuperNodes on loopback, ended and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="stock", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        certificates.create_authority(folder, name="stock")
        certificates.create_server(folder, names=("127.0.0.1", "localhost"))
        environment = os.environ | {
            "FLWR_HOME": str(folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PATH": f"{_BIN}:{os.environ['PATH']}",
            "BENCH_NOTES": str(folder / "notes"),
        }
        (folder / "flwr").mkdir()
        (folder / "flwr" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
            f'root-certificates = "{folder / "ca.pem"}"\n'
        )
        stock = Deployment(folder=folder, port=port, environment=environment)
        stock.start(
            "flower-superlink", "--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key",
            "--ssl-ca-certfile", "ca.pem", "--enable-supernode-auth", "--host", "127.0.0.1",
            "--port", str(port), "--disable-runtime-dependency-installation",
        )  # fmt: skip
        try:
            _await(port, _READY_SECONDS)
            for number in range(nodes):
                stock.add_node(f"site{number}", number)
            _await_nodes(stock, nodes)
            threading.Thread(target=stock.watch, daemon=True).start()
            yield stock
        finally:
            family = [
                child
                for process in stock.processes
                if psutil.pid_exists(process.pid)
                for child in psutil.Process(process.pid).children(recursive=True)
            ]
            for process in reversed(stock.processes):
                process.terminate()
            for process in stock.processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                process.kill()
            for child in family:
                with contextlib.suppress(psutil.Error):
                    child.kill()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise TimeoutError("the SuperLink did not start")


def _await_nodes(stock: Deployment, nodes: int) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        if stock.flwr("supernode", "list", "here", "--format", "json").count("online") >= nodes:
            return
        time.sleep(0.5)
    raise TimeoutError("the SuperNodes did not come online")


def measure(megabytes: float, *, rounds: int) -> dict[str, Any]:
    """Rounds with an empty fit: seconds of every exchange, start-up, peak memory."""
    with deployment() as stock:
        app = {"pyproject.toml": PYPROJECT, "server.py": _SERVER, "client.py": _CLIENT}
        began, notes = stock.run(app, {"rounds": rounds, "megabytes": float(megabytes)})
        at = {(note["what"], note["round"]): note["time"] for note in notes}
        numbers = range(1, rounds + 1)
        return {
            "exchange": [at["trained", n] - at["train", n] for n in numbers],
            "whole": [at["evaluated", n] - at["train", n] for n in numbers],
            "start": at["train", 1] - began,
            "peaks": dict(stock.peaks),
            "load": os.getloadavg()[0],
        }


def report(megabytes: float, found: dict[str, Any]) -> None:
    """One size in words."""
    exchange, whole = found["exchange"], found["whole"]
    print(f"stock Flower, {megabytes:g} MB, {len(exchange)} rounds, load {found['load']:.1f}:")
    print(f"  train exchange      {median(exchange):7.2f} s median, {max(exchange):.2f} worst")
    print(f"  train and evaluate  {median(whole):7.2f} s median, {max(whole):.2f} worst")
    print(f"  submitted to first round {found['start']:.2f} s")
    print("  peak memory, MB: " + ", ".join(f"{k} {v:.0f}" for k, v in found["peaks"].items()))


if __name__ == "__main__":
    size = float(sys.argv[1])
    report(size, measure(size, rounds=2))
