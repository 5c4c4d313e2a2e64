"""A home as a service: what systemd starts, hears and ends; logs that stay small; idle trainers."""

import contextlib
import importlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from fedtui import events, operations, orders, processes, site
from fedtui.errors import ResourceError, UsageError
from fedtui.site import Home
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, until


@dataclass
class Served:
    """A coordinator that a systemd of ours started, and a site that idles quickly."""

    federation: Federation
    process: subprocess.Popen[str]
    told: list[str] = field(default_factory=list)

    @property
    def home(self) -> Home:
        return self.federation.coordinator

    def hears(self, word: str, *, times: int = 1, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while sum(word in one for one in self.told) < times:
            assert self.process.poll() is None or word == "STOPPING=1", self.process.communicate()
            assert time.monotonic() < deadline, self.told
            time.sleep(0.05)


def words(unit: str, key: str) -> list[str]:
    """A line of the unit as systemd splits it."""
    line = next(line for line in unit.splitlines() if line.startswith(f"{key}="))
    return shlex.split(line.partition("=")[2])


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with fed.homes(COORDINATOR, SITE) as made, contextlib.ExitStack() as stack:
        with made.site.settings.open("a") as file:
            file.write("\n[trainer]\nidle_seconds = 2\n")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        listener.bind(str(made.folder / "notify"))
        unit = operations.service_unit(made.coordinator, "system")
        process = subprocess.Popen(
            words(unit, "ExecStart"),
            cwd=words(unit, "WorkingDirectory")[0],
            env={"NOTIFY_SOCKET": str(made.folder / "notify"), "WATCHDOG_USEC": "400000"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        here = Served(made, process)

        def listen() -> None:
            with contextlib.suppress(OSError):
                while data := listener.recv(4096):
                    here.told.append(data.decode())

        threading.Thread(target=listen, daemon=True).start()
        stack.callback(process.communicate)
        stack.callback(process.kill)
        yield here


def test_systemd_is_told_when_all_is_up_and_hears_the_watchdog(served: Served) -> None:
    served.hears("READY=1")
    served.hears("WATCHDOG=1", times=3)

    status = operations.status(served.home)
    assert status["processes"]["supervisor"] == served.process.pid
    assert set(status["processes"]) == {"supervisor", "coordinator", "agent"}
    for pid in (status["processes"]["agent"], status["processes"]["coordinator"]):
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(psutil.Process(pid).environ())


def test_a_second_start_is_refused_with_the_holder_named(served: Served) -> None:
    served.hears("READY=1")
    command = [sys.executable, "-m", "fedtui.cli", "up", "--foreground"]

    rival = subprocess.run(
        [*command, "--home", str(served.home.path)], capture_output=True, text=True, check=False
    )
    as_json = subprocess.run(
        [*command, "--json", "--home", str(served.home.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert rival.returncode == as_json.returncode == 4
    assert f"process {served.process.pid}" in rival.stderr
    assert json.loads(as_json.stdout)["exit_code"] == 4


def test_an_idle_trainer_ends_and_the_next_run_starts_it_again(served: Served) -> None:
    made = served.federation
    served.hears("READY=1")
    made.up(SITE)
    made.linked(SITE)

    assert made.run(fed.study(rounds=1)).outcome == "completed"
    ended = until(
        made.site, lambda e: isinstance(e, events.ProcessEnded) and e.process == "trainer"
    )
    after = fed.head(made.site)
    resting = orders.order(made.site, "agent", "status")
    assert made.run(fed.study(rounds=1)).outcome == "completed"
    until(made.site, lambda e: isinstance(e, events.DeviceReported), after=after)

    assert ended.event.level == "INFO"
    assert "no work" in ended.event.sentence
    assert resting["trainer"] is None
    assert operations.known(made.site).link


def timed_down(home: Home) -> float:
    began = time.monotonic()
    operations.down(home)
    return time.monotonic() - began


LONG = {"learning_rate": 0.001, "batch": 8, "epochs": 100_000}


def test_down_takes_five_seconds_at_most_in_the_middle_of_training(served: Served) -> None:
    made = served.federation
    served.hears("READY=1")
    made.up(SITE)
    after = fed.head(made.site)
    made.start(fed.study(training=LONG))
    until(made.site, lambda e: isinstance(e, events.TrainingProgressed), after=after)

    took = timed_down(made.site)

    assert took < 5.5
    assert not fed.living(made.site.path)
    made.idle()


@pytest.mark.slow
def test_down_takes_five_seconds_at_most_in_the_middle_of_a_push(served: Served) -> None:
    made = served.federation
    served.hears("READY=1")
    made.up(SITE)
    after = fed.head(made.site)
    made.start(fed.study(training={"learning_rate": 0.001, "batch": 8, "epochs": 60}))
    until(made.site, lambda e: isinstance(e, events.TrainingProgressed), after=after)
    coordinator = processes.running(served.home, "coordinator")
    assert coordinator is not None
    os.kill(coordinator, signal.SIGSTOP)  # what is sent to it now hangs
    try:
        deadline = time.monotonic() + 60
        while orders.order(made.site, "agent", "status")["state"] != "sending":
            assert time.monotonic() < deadline
            time.sleep(0.1)

        took = timed_down(made.site)
    finally:
        os.kill(coordinator, signal.SIGCONT)

    assert took < 5.5
    assert not fed.living(made.site.path)
    made.idle()


def test_systemds_stop_ends_everything_in_order(served: Served) -> None:
    served.hears("READY=1")
    began = time.monotonic()

    served.process.terminate()
    out, err = served.process.communicate(timeout=30)

    assert time.monotonic() - began < 10
    assert (served.process.returncode, err) == (0, "")
    assert out.startswith("up: ")
    served.hears("STOPPING=1")
    assert not fed.living(served.home.path)
    assert processes.wanted(served.home) == ()


def test_a_start_that_fails_is_named_with_its_code_and_leaves_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        operations.create(home, "dmz", coordinator=True, data=False, host="127.0.0.1", port=port)

        done = subprocess.run(
            [sys.executable, "-m", "fedtui.cli", "up", "--foreground", "--home", str(home.path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 3
    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2
    assert not fed.living(home.path)
    assert processes.wanted(home) == ()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_the_foreground_ends_with_its_terminal(tmp_path: Path, number: int, code: int) -> None:
    home = Home(tmp_path / "home")
    port = fed.free_port()
    operations.create(home, "dmz", coordinator=True, data=False, host="127.0.0.1", port=port)
    command = [sys.executable, "-m", "fedtui.cli", "up", "--foreground", "--home", str(home.path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up: coordinator\n"

    child.send_signal(number)

    assert child.wait(timeout=30) == code
    child.stdout.close()
    assert not fed.living(home.path)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "a %home")
    operations.create(home, "vgr", coordinator=True, host="127.0.0.1")
    return home


def test_a_log_makes_room_for_itself_and_three_older_ones_are_kept(home: Home) -> None:
    log = home.log("agent")
    with log.open("ab", buffering=0) as writer:  # as a process has it open for months
        for number in range(6):
            writer.write(f"{number}".encode() * 2000)
            processes.bound_logs(home, limit=1000)
        writer.write(b"last")

    kept = {path.name: path.read_bytes() for path in home.state.glob("agent.log*")}
    assert {name: data[:1] for name, data in kept.items()} == {
        "agent.log": b"l",
        "agent.log.1": b"5",
        "agent.log.2": b"4",
        "agent.log.3": b"3",
    }
    assert kept["agent.log"] == b"last"
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in home.state.glob("agent.log.*"))


@pytest.mark.parametrize("scope", ["system", "user"])
def test_systemd_itself_finds_no_fault_in_the_unit(home: Home, scope: str, tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / operations.service_status(home)["unit"]
    unit.write_text(operations.service_unit(home, scope))  # type: ignore[arg-type]

    done = subprocess.run([tool, "verify", unit], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_forbids_what_a_hospitals_host_need_not_allow(home: Home) -> None:
    system = operations.service_unit(home, "system")
    user = operations.service_unit(home, "user")

    for line in ("NoNewPrivileges=yes", "UMask=0077", "OOMPolicy=continue", "LimitCORE=0"):
        assert line in system.splitlines()
        assert line in user.splitlines()
    assert "ProtectSystem=strict" in system
    assert "ProtectSystem=strict" not in user
    assert 'ReadWritePaths="' in system
    assert "a %%home" in system
    assert words(system, "ExecStart")[-1].replace("%%", "%") == str(home.path)
    assert "CAP_NET_BIND_SERVICE" not in system
    low = home.settings.read_text().replace("port = 8443", "port = 443")
    home.settings.write_text(low)
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in operations.service_unit(home, "system")


def test_a_temporary_home_and_a_host_without_systemd_are_refused_by_name(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operations.service_status(home) == {"unit": "fedtui-vgr.service", "installed": False}
    if not home.path.is_relative_to("/tmp"):
        pytest.skip("the test's folder is not a temporary one")

    with pytest.raises(UsageError, match="is temporary"):
        operations.install_service(home, "user")
    with pytest.raises(UsageError, match="no service"):
        operations.remove_service(home)


def test_a_trainers_patience_is_the_sites_own_setting(home: Home) -> None:
    assert site.load(home).trainer.idle_seconds == 600

    home.settings.write_text(home.settings.read_text() + "\n[trainer]\nidle_seconds = 0\n")

    with pytest.raises(UsageError, match="idle_seconds"):
        site.load(home)


def test_what_systemd_refuses_is_told_in_its_words(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if Path("/run/systemd/system").exists():
        pytest.skip("a systemd runs here")
    monkeypatch.setattr(importlib.import_module("fedtui.operations._service"), "_TEMPORARY", ())

    with pytest.raises(ResourceError, match="does not run") as refused:
        operations.install_service(home, "user")

    assert "up --foreground" in refused.value.remedy
    assert not list(tmp_path.rglob("*.service"))
