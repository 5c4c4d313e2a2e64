"""Processes of a home: one of each, started once, healed when killed, gone when told."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fedtui import events, journal, operations, orders, processes
from fedtui.errors import BusyError, NetworkError, OperatorError, UsageError
from fedtui.journal import Journal
from fedtui.processes import Lock
from fedtui.site import Home
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, until

HOLDER = """
import sys, time
from pathlib import Path
from fedtui.processes import Lock
from fedtui.site import Home
lock = Lock(Home(Path(sys.argv[1])), "agent")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def holder(home: Home) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


@pytest.mark.parametrize(
    ("process", "heavy"),
    [("coordinator", {"jax", "flax", "optax"}), ("agent", {"jax", "flax", "optax", "sqlalchemy"})],
)
def test_only_the_trainer_loads_jax_and_only_the_coordinator_flowers_server(
    process: str, heavy: set[str]
) -> None:
    code = f"import sys, fedtui.flower.{process}; print(*sorted({heavy!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_a_rival_is_refused_and_told_who_holds_the_lock(home: Home) -> None:
    with holder(home) as child:
        try:
            assert processes.running(home, "agent") == child.pid

            with pytest.raises(BusyError, match=f"process {child.pid}") as refused:
                Lock(home, "agent")
        finally:
            child.kill()

    assert refused.value.exit_code == 4
    assert "fedtui down" in refused.value.remedy


def test_a_lock_ends_with_its_process_however_that_ends(home: Home) -> None:
    for _ in range(5):
        with holder(home) as child:
            child.kill()
            child.wait()

        assert processes.running(home, "agent") is None
    Lock(home, "agent").release()
    assert processes.running(home, "agent") is None


def test_looking_at_a_lock_does_not_stand_in_its_way(home: Home) -> None:
    Lock(home, "agent").release()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            processes.running(home, "agent")

    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(look) for _ in range(2)]
        try:
            for _ in range(20):
                Lock(home, "agent").release()
        finally:
            over.set()
    assert [look.exception() for look in looks] == [None, None]


@pytest.fixture
def served(home: Home) -> Iterator[Home]:
    """A home whose 'agent' is this very process and knows a few orders."""
    journal.create(home.journal)
    home.state.mkdir()
    book = Journal(home.journal, source="test")

    def refuse(_: dict[str, object]) -> dict[str, object]:
        raise BusyError("Not now.", remedy="Later.")

    known = {
        "ping": lambda _: {"pid": os.getpid()},
        "double": lambda request: {"number": 2 * request["number"]},
        "refuse": refuse,
    }
    server = orders.take_orders(home, "agent", known, book)
    yield home
    server.close()
    book.close()


def test_an_order_is_answered_and_journaled_with_its_user(served: Home) -> None:
    answer = orders.order(served, "agent", "double", number=21)

    assert answer == {"number": 42}
    assert [e for _, e in fed.records(served, events.OrderTaken)] == [
        events.OrderTaken(order="double", process="agent", uid=os.getuid())
    ]
    assert served.socket("agent").stat().st_mode & 0o777 == 0o600


def test_an_order_that_is_refused_raises_here_what_was_raised_there(served: Home) -> None:
    with pytest.raises(BusyError, match="Not now") as refused:
        orders.order(served, "agent", "refuse")

    assert refused.value.remedy == "Later."


def test_an_unknown_order_is_refused(served: Home) -> None:
    with pytest.raises(UsageError, match="does not know"):
        orders.order(served, "agent", "format-disk")

    assert not fed.records(served, events.OrderTaken)


@pytest.mark.parametrize(
    "line",
    [b"\n", b"no json\n", b"[]\n", b'{"order": []}\n', b"{}\n", b"\xff\n", b"[" * 9999 + b"\n"],
)
def test_what_is_no_order_is_answered_by_name(served: Home, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(served.socket("agent")))
        client.sendall(line)

        answer = client.makefile("rb").readline()

    assert b"UsageError" in answer
    assert orders.answers(served, "agent")


def test_an_order_that_lacks_its_argument_is_answered_by_name(served: Home) -> None:
    with pytest.raises(OperatorError) as refused:
        orders.order(served, "agent", "double")

    assert "order" in str(refused.value)
    assert orders.answers(served, "agent")


def test_an_order_to_a_process_that_is_not_there_says_how_to_start_it(home: Home) -> None:
    with pytest.raises(UsageError, match="not running") as refused:
        orders.order(home, "agent", "ping")

    assert "fedtui up" in refused.value.remedy
    assert not orders.answers(home, "agent")


def test_a_home_whose_socket_path_is_too_long_is_not_made(tmp_path: Path) -> None:
    home = Home(tmp_path / ("x" * 100))

    with pytest.raises(UsageError, match="too long a path"):
        operations.create(home, "vgr")

    assert not home.path.exists()


@pytest.fixture(scope="module")
def pair() -> Iterator[Federation]:
    """A coordinator that is up, beside a site that is not."""
    with fed.homes(COORDINATOR, SITE) as made:
        made.up(COORDINATOR)
        made.linked(COORDINATOR)
        yield made


def pids(home: Home) -> dict[str, int | None]:
    return {name: processes.running(home, name) for name in processes.MODULES}


def test_starting_twice_changes_nothing(pair: Federation) -> None:
    before = pids(pair.coordinator)

    with ThreadPoolExecutor(3) as pool:
        again = [pool.submit(operations.up, pair.coordinator) for _ in range(3)]
        roles = [one.result() for one in again]

    assert roles == [("coordinator", "agent")] * 3
    assert pids(pair.coordinator) == before
    modules = [" ".join(p.cmdline()) for p in fed.living(pair.coordinator.path)]
    for module in (*processes.MODULES.values(), "fedtui.flower.trainer"):
        assert sum(f"-m {module} " in line for line in modules) == 1


@pytest.mark.parametrize("process", ["supervisor", "agent", "coordinator"])
def test_a_killed_process_is_started_again(pair: Federation, process: str) -> None:
    home = pair.coordinator
    after, killed = fed.head(home), processes.running(home, process)
    assert killed is not None

    os.kill(killed, signal.SIGKILL)

    until(
        home,
        lambda e: isinstance(e, events.ProcessStarted) and e.process == process,
        after=after,
    )
    assert processes.running(home, process) not in (None, killed)
    if process != "supervisor":
        fed.answering(home, process)


def test_a_killed_agent_takes_its_trainer_along(pair: Federation) -> None:
    home = pair.coordinator
    until(home, lambda e: isinstance(e, events.DeviceReported))
    fed.answering(home, "agent")
    deadline = time.monotonic() + 30
    while not (trainer := orders.order(home, "agent", "status")["trainer"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    agent = processes.running(home, "agent")
    assert agent is not None

    os.kill(agent, signal.SIGKILL)

    _, alive = psutil.wait_procs([psutil.Process(trainer)], timeout=10)
    assert not alive
    fed.answering(home, "agent")


def test_a_port_in_use_is_named_and_nothing_is_left(pair: Federation) -> None:
    home = Home(pair.folder / "rival")
    operations.create(home, "rival", coordinator=True, data=False, host="127.0.0.1", port=pair.port)

    with pytest.raises(NetworkError, match=f"127.0.0.1:{pair.port}") as refused:
        operations.up(home)

    assert refused.value.exit_code == 3
    assert "port" in refused.value.remedy
    assert pids(home) == dict.fromkeys(processes.MODULES)
    assert not fed.living(home.path)


@pytest.mark.parametrize("stopped", [(), ("agent", "coordinator", "supervisor")])
def test_down_ends_everything_within_five_seconds(
    pair: Federation, stopped: tuple[str, ...]
) -> None:
    home = pair.coordinator
    operations.up(home)
    for process in stopped:  # one that cannot even hear that it is to end
        os.kill(processes.running(home, process) or 0, signal.SIGSTOP)
    began = time.monotonic()

    operations.down(home)

    assert time.monotonic() - began < 5.0
    psutil.wait_procs(fed.living(home.path), timeout=1)
    assert not fed.living(home.path)
    assert not list(home.state.glob("*.sock"))
    assert not operations.down(home)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "stopped"),
        (-15, "stopped"),
        (-9, "killed by SIGKILL"),
        (3, "exit code 3"),
        (None, "gone"),
    ],
)
def test_an_end_has_a_cause(code: int | None, words: str) -> None:
    assert processes.cause(code) == words
