"""The headless door as an operator meets it: real commands, real homes, real processes."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedtui import processes
from fedtui.site import Home

STUDY = """
id = "by-hand"
purpose = "Two hospitals by hand."
sites = ["sahlgrenska", "halland"]
data = "digits"
model = "mlp"
rounds = 3
normalisation = "none"

[parameters]
hidden = [32]

[training]
learning_rate = 0.1
batch = 32
"""


def fedtui(*words: str, home: Path | None = None, check: int | None = 0) -> Any:
    where = ["--home", str(home)] if home else []
    done = subprocess.run(
        [sys.executable, "-m", "fedtui.cli", *words, *where],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def living_in(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(
            str(folder) in word for word in process.info["cmdline"] or ()
        ):
            found.append(" ".join(process.info["cmdline"]))
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("h")  # short: a socket's path has 107 bytes
    yield place
    for home in place.iterdir():
        if (home / "site.toml").exists():
            processes.stop(Home(home))
    assert living_in(place) == []


@pytest.mark.parametrize("words", [["--help"], ["status", "--json"], ["watch"]])
def test_light_commands_import_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    fedtui("init", "halland", home=tmp_path / "h")
    code = (
        "import sys; from fedtui.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'flwr', 'jax', 'flax', 'optax', 'polars', 'sklearn', 'numpy', 'models', "
        "'datasets', 'rich', 'textual', 'cryptography', 'httpx'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "FEDTUI_HOME": str(tmp_path / "h")},
    )

    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.slow  # the guide's own commands do the same by codes
def test_two_hospitals_by_hand(folder: Path) -> None:
    vgr, halland, study = folder / "vgr", folder / "hal", folder / "study.toml"
    study.write_text(STUDY)
    port = str(free_port())
    fedtui("init", "sahlgrenska", "--coordinator", "--host", "127.0.0.1", "--port", port, home=vgr)
    fedtui("init", "halland", home=halland)
    for home, part in ((vgr, "even"), (halland, "odd")):
        with (home / "site.toml").open("a") as file:
            file.write(f'[data.digits]\npart = "{part}"\n')
    key, invitation = halland / "keys" / "node.pub", folder / "halland.invitation"
    fedtui("invite", "halland", "--key", str(key), "--to", str(invitation), home=vgr)
    fedtui("join", str(invitation), home=halland)

    fedtui("up", home=vgr)
    fedtui("up", home=halland)
    again = fedtui("up", home=halland)
    run = fedtui("run", str(study), home=vgr).stdout.strip()
    watched = fedtui("watch", run, "--plain", home=vgr)
    status = json.loads(fedtui("status", "--json", home=vgr).stdout)
    late = fedtui("watch", "--json", home=vgr).stdout.splitlines()
    environment = Path(f"/proc/{status['processes']['agent']}/environ").read_text()
    fedtui("down", home=halland)
    fedtui("down", home=vgr)

    assert again.stdout == "already up: agent\n"
    assert "round 3 ended" in watched.stdout
    (ended,) = [line for line in watched.stdout.splitlines() if "round 3 ended" in line]
    assert re.fullmatch(r".* accuracy 0\.\d{4}, loss \d\.\d{4}\.", ended)
    assert (
        "brier" in next(e for e in map(json.loads, late) if e["event"] == "RoundEnded")["metrics"]
    )
    assert status["run"]["state"] == "COMPLETED"
    assert status["run"]["round"] == 3
    assert set(status["coordinator"]["sites"]) == {"sahlgrenska", "halland"}
    assert "FLWR_TELEMETRY_ENABLED=0" in environment  # nothing calls home
    assert "FLWR_DISABLE_UPDATE_CHECK=1" in environment
    events = [json.loads(line) for line in late]
    assert [e["round"] for e in events if e["event"] == "RoundEnded"] == [1, 2, 3]
    assert events[0]["event"] == "RunSubmitted"
    assert events[-1]["event"] == "RunEnded"


def test_a_coordinator_alone_has_no_data_and_no_trainer_and_stops_a_run(folder: Path) -> None:
    dmz, study = folder / "dmz", folder / "study.toml"
    study.write_text(STUDY.replace("rounds = 3", "rounds = 10000"))
    port = str(free_port())
    fedtui("init", "neutral", "--coordinator-only", "--host", "127.0.0.1", "--port", port, home=dmz)
    homes = {"sahlgrenska": folder / "vgr", "halland": folder / "hal"}
    for name, home in homes.items():
        fedtui("init", name, home=home)
        with (home / "site.toml").open("a") as file:
            file.write(f'[data.digits]\npart = "{"even" if name == "halland" else "odd"}"\n')
        invitation = folder / f"{name}.json"
        key = str(home / "keys" / "node.pub")
        fedtui("invite", name, "--key", key, "--to", str(invitation), home=dmz)
        fedtui("join", str(invitation), home=home)
    fedtui("up", home=dmz)
    for home in homes.values():
        fedtui("up", home=home)

    run = fedtui("run", str(study), home=dmz).stdout.strip()
    busy = fedtui("run", str(study), home=dmz, check=4)
    until = time.monotonic() + 60
    while json.loads(fedtui("status", "--json", home=dmz).stdout)["run"]["round"] < 2:
        assert time.monotonic() < until
    fedtui("pause", home=dmz)
    paused = json.loads(fedtui("status", "--json", home=dmz).stdout)["run"]
    fedtui("resume", run, home=dmz)
    fedtui("stop", home=dmz)
    watched = fedtui("watch", "--json", home=dmz, check=1)
    elsewhere = fedtui("run", str(study), home=homes["halland"], check=2)
    alive = json.loads(fedtui("status", "--json", home=dmz).stdout)["processes"]

    assert "is not over" in busy.stderr
    assert paused["state"] == "PAUSED"
    assert json.loads(watched.stdout.splitlines()[-1])["outcome"] == "stopped"
    assert "not the coordinator" in elsewhere.stderr
    assert set(alive) == {"supervisor", "coordinator"}
    assert not (dmz / "federation.toml").exists()


def test_what_is_wrong_is_named_with_a_remedy_and_its_code(folder: Path) -> None:
    home = folder / "home"
    fedtui("init", "halland", home=home)
    typo = folder / "typo.toml"
    typo.write_text(STUDY.replace("rounds = 3", "ruonds = 3"))
    wrong = folder / "wrong.toml"
    wrong.write_text(STUDY.replace("batch = 32", "batch = 32\nlearning_rat = 1"))

    cases = [
        (["init", "halland"], 2, "already a fedtui home"),
        (["init", "Å"], 2, "already a fedtui home"),
        (["up"], 2, "has not joined a federation"),
        (["run", str(typo)], 2, "line 7, ruonds: unknown key"),
        (["run", str(folder / "none.toml")], 2, "cannot be read"),
        (["watch"], 2, "There is no run yet"),
        (["watch", "nope"], 2, "There is no run nope"),
        (["sites"], 2, "not the coordinator"),
        (["join", str(typo)], 5, "not a fedtui invitation"),
        (["invite", "a b", "--key", str(typo)], 2, "not the coordinator"),
    ]
    for words, code, sentence in cases:
        done = fedtui(*words, home=home, check=code)
        assert sentence in done.stderr, words
        assert len(done.stderr.strip().splitlines()) == 2, words

    as_json = json.loads(fedtui("up", "--json", home=home, check=2).stdout)
    assert as_json["exit_code"] == 2
    assert as_json["remedy"]


def test_a_port_in_use_is_named_and_nothing_is_left_running(folder: Path) -> None:
    home = folder / "home"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["--coordinator", "--host", "127.0.0.1", "--port", port]
        fedtui("init", "halland", *words, home=home)

        done = fedtui("up", home=home, check=3)

    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
    assert living_in(home) == []


def test_a_broken_and_a_foreign_journal_are_refused(folder: Path) -> None:
    home = folder / "home"
    fedtui("init", "halland", home=home)
    journal = home / "journal.db"

    journal.write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    broken = fedtui("status", home=home, check=6)
    journal.unlink()

    other = sqlite3.connect(journal)
    other.execute("CREATE TABLE patients (id)")
    other.commit()
    other.close()
    foreign = fedtui("status", home=home, check=6)

    assert "damaged or no journal" in broken.stderr
    assert "is not a fedtui journal" in foreign.stderr


def test_the_demo_is_a_real_federation_and_leaves_nothing(folder: Path) -> None:
    home = folder / "demo"

    done = fedtui("demo", "--json", "--home", str(home))

    *lines, last = done.stdout.splitlines()
    records = [json.loads(line) for line in lines]
    summary = json.loads(last)["summary"]
    assert summary["rounds"] == 15
    assert summary["joint"] >= 0.88
    assert all(site["alone"] <= 0.51 for site in summary["sites"].values())
    assert sum(r["event"] == "RunEnded" and r["outcome"] == "completed" for r in records) == 3
    assert all(s["bytes_sent"] > 0 and s["seconds"]["train"] > 0 for s in summary["sites"].values())
    assert Path(summary["model"]).stat().st_size > 0
    assert living_in(home) == []
    keys = {(home / name / "keys" / "node.key").read_bytes() for name in summary["sites"]}
    assert len(keys) == 2


def test_ctrl_c_ends_the_demo_without_a_process_port_or_file(folder: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "fedtui.cli", "demo", "--headless", "--rounds", "5000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert demo.stdout is not None
    assert "round" in demo.stdout.readline()

    demo.send_signal(signal.SIGINT)
    _, told = demo.communicate(timeout=30)

    assert told.index("Starting 2 hospitals…") < told.index("Stopping them…")
    assert demo.returncode == 130
    assert list(folder.iterdir()) == []
    assert living_in(folder) == []
