"""Genuinely Flower: a stock SuperNode at our coordinator, our agent at a stock SuperLink."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedtui import certificates, events, journal, keys, operations, processes, settings
from fedtui.errors import TrustError
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.study import Study
from tests.federation import living
from tests.test_commands import free_port, living_in

BIN = Path(sys.executable).parent
STUDY = """
id = "interop"
purpose = "Public digits, together with stock Flower."
sites = ["ours", "stock"]
data = "digits"
model = "logistic"
rounds = 2
normalisation = "none"
interop = true

[training]
learning_rate = 0.1
batch = 32
"""


class Stock:
    """Stock Flower processes of one test, all ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",  # Flower starts its own commands by name
            "FLWR_HOME": str(folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        }

    def start(self, *words: str) -> Path:
        log = self.folder / f"{words[0]}.log"
        with log.open("wb") as file:
            child = subprocess.Popen(
                [str(BIN / words[0]), *words[1:]],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )
        self.children.append(child)
        return log

    def call(self, *words: str) -> str:
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def end(self) -> None:
        for child in self.children:
            child.terminate()
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=2)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # a session of its own, with grandchildren
            child.wait()
        for process in living(self.folder):  # some of Flower's make a session of their own
            with contextlib.suppress(psutil.Error):
                process.kill()
                process.wait(10)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("i")
    yield place
    for home in place.iterdir():
        if (home / "site.toml").exists():
            processes.stop(Home(home))
    assert living_in(place) == []


@pytest.fixture
def stock(folder: Path) -> Iterator[Stock]:
    made = Stock(folder)
    yield made
    made.end()


def until(home: Home, wanted: type[events.Event], *, count: int = 1, seconds: float = 150) -> Any:
    end = time.monotonic() + seconds
    found = []
    for record in journal.follow(home.journal, stop=lambda: time.monotonic() > end):
        if isinstance(record.event, wanted):
            found.append(record.event)
            if len(found) == count:
                return record.event
    raise AssertionError(f"{count} x {wanted.__name__} did not come in {seconds} s: {found}")


def ssh_key(path: Path) -> Path:
    """A node key as ssh-keygen writes it: what a stock SuperNode takes."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = serialization.PrivateFormat.OpenSSH
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )
    path.chmod(0o600)
    public = path.with_suffix(".pub")
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    )
    return public


@pytest.mark.slow
def test_a_stock_supernode_finishes_rounds_at_our_coordinator(folder: Path, stock: Stock) -> None:
    home, port = Home(folder / "ours"), free_port()
    operations.create(
        home, "ours", coordinator=True, host="127.0.0.1", port=port,
        sources={"digits": {"part": "even"}},
    )  # fmt: skip
    public = ssh_key(folder / "node")
    operations.invite(home, "stock", public_key=public)
    operations.up(home)
    stock.start(
        "flower-supernode", "--superlink", f"127.0.0.1:{port}",
        "--root-certificates", str(home.keys / "ca.pem"),
        "--auth-supernode-private-key", str(folder / "node"),
        "--node-config", 'site="stock" part="odd"', "--port", str(free_port()),
    )  # fmt: skip
    until(home, events.SiteSeen, count=2)

    run = operations.run(home, settings.parse(STUDY, Study, name="study.toml"))
    ended = until(home, events.RunEnded)

    assert ended.outcome == "completed", ended.cause
    book = Journal(home.journal, source="viewer")
    rounds = [r.event for r in book.own(("RoundEnded",))]
    book.close()
    assert [set(e.by_site) for e in rounds] == [{"ours", "stock"}] * 2
    assert rounds[-1].metrics["accuracy"] > 0.6  # both parities: neither site alone could
    assert operations.known(home).runs[run].interop


SERVER = """
import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()
client = ClientApp()

@app.main()
def main(grid: Grid, context: Context) -> None:
    first = ArrayRecord({"parameters": Array(np.zeros(650, dtype=np.float32))})
    strategy = FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
    result = strategy.start(grid=grid, initial_arrays=first, num_rounds=2)
    print("ACCURACY", result.evaluate_metrics_clientapp[2]["accuracy"], flush=True)
    print("LENGTH", float(np.linalg.norm(result.arrays["parameters"].numpy())), flush=True)
"""
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "stock"
version = "1.0.0"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "test"

[tool.flwr.app.components]
serverapp = "stock.app:app"
clientapp = "stock.app:client"

[tool.flwr.app.config]
"""


@pytest.mark.slow
def test_our_agent_serves_a_stock_superlink(folder: Path, stock: Stock) -> None:
    home, port = Home(folder / "ours"), free_port()
    operations.create(home, "ours", sources={"digits": {"part": "all"}})
    (folder / "ca").mkdir()
    certificates.create_authority(folder / "ca", name="stock")
    certificates.create_server(folder / "ca", names=("127.0.0.1", "localhost"))
    (folder / "study.toml").write_text(STUDY)
    shutil.copy(folder / "ca" / "ca.pem", folder / "ca.pem")
    (folder / "flwr").mkdir()
    (folder / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "lab"\n[superlink.lab]\naddress = "127.0.0.1:{port}"\n'
        f'root-certificates = "{folder / "ca.pem"}"\n'
    )
    package = folder / "app" / "stock"
    package.mkdir(parents=True)
    (folder / "app" / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").touch()
    (package / "app.py").write_text(SERVER)
    stock.start(
        "flower-superlink", "--ssl-certfile", str(folder / "ca" / "server.pem"),
        "--ssl-keyfile", str(folder / "ca" / "server.key"),
        "--ssl-ca-certfile", str(folder / "ca.pem"), "--enable-supernode-auth",
        "--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation",
    )  # fmt: skip
    pem = keys.load_public((home.keys / "node.pub").read_bytes(), name="node.pub")
    public = folder / "ours.pub"
    public.write_bytes(
        pem.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    register = ("flwr", "supernode", "register", str(public), "lab", "--format", "json")
    for _ in range(30):
        if json.loads(stock.call(*register))["success"]:
            break
        time.sleep(1)

    operations.join_flower(
        home, f"127.0.0.1:{port}", authority=folder / "ca.pem", agreed=folder / "study.toml"
    )
    operations.up(home)
    until(home, events.LinkChanged)
    output = stock.call("flwr", "run", str(folder / "app"), "lab", "--stream")

    accuracy = re.search(r"ACCURACY ([\d.]+)", output)
    assert accuracy, output
    assert float(accuracy[1]) > 0.6
    assert until(home, events.WorkAnswered, count=4).phase == "evaluate"
    run = operations.known(home).run
    assert run is not None
    assert run.interop
    assert run.run.startswith("flower-")


def test_only_an_interop_study_meets_a_stock_peer(folder: Path) -> None:
    home = Home(folder / "ours")
    operations.create(home, "ours", sources={"digits": {"part": "all"}})
    (folder / "ca").mkdir()
    certificates.create_authority(folder / "ca", name="stock")
    private = folder / "study.toml"
    private.write_text(STUDY.replace("interop = true", "interop = false"))

    with pytest.raises(TrustError, match="not marked interop"):
        operations.join_flower(
            home, "127.0.0.1:1", authority=folder / "ca" / "ca.pem", agreed=private
        )
    assert json.dumps(operations.status(home)["link"]) == '"down"'
