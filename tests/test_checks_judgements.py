"""What phase 0 says of a number, a file or a setting: the pure judgements behind its checks."""

from pathlib import Path

import pytest

from fedtui.checks import State, cpu, device, disk, filesystem, idle, linger
from fedtui.checks import clock as clocks
from fedtui.checks import memory as memories
from fedtui.checks import terminal as terminals
from fedtui.checks import tmp as temporary
from fedtui.events import DeviceReported
from fedtui.flower import agent, gate
from fedtui.mounts import Mount


def test_limits_of_the_clock_are_those_that_refuse() -> None:
    assert clocks.BEHIND_REFUSED == gate.FRESH_SECONDS


def test_the_agents_longest_silence_is_what_idle_connections_must_bear() -> None:
    assert idle._AGENT_SECONDS == agent.WAIT_SECONDS


@pytest.mark.parametrize(
    ("ahead", "doubt", "code", "state"),
    [
        (0.0, 0.1, "clock-ok", State.OK),
        (1.9, 0.0, "clock-ok", State.OK),
        (2.5, 0.0, "clock-ahead", State.WARN),
        (2.5, 1.0, "clock-ok", State.OK),  # the way's delay may be all of it
        (4.5, 0.0, "clock-ahead", State.FAIL),
        (-9.0, 0.0, "clock-ok", State.OK),
        (-11.0, 0.0, "clock-behind", State.WARN),
        (-50.0, 0.0, "clock-behind", State.FAIL),
        (-1200.0, 0.2, "clock-behind", State.FAIL),
    ],
)
def test_a_clock_is_judged_by_what_is_certain(
    ahead: float, doubt: float, code: str, state: State
) -> None:
    finding = clocks.judge(ahead, doubt, proven=True)

    assert (finding.code, finding.state) == (code, state)
    assert finding.value == pytest.approx(ahead)


_FULL = "model name : X\nflags : avx avx2 fma bmi1 bmi2 movbe abm hypervisor\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (_FULL, "cpu-ok"),
        (_FULL.replace("avx2 ", ""), "cpu-no-avx2"),
        ("flags : sse2 hypervisor\n", "cpu-no-avx"),
        ("", "cpu-unknown"),
    ],
)
def test_a_processor_is_judged_by_its_flags(text: str, code: str) -> None:
    assert cpu.judge(text, machine="x86_64").code == code


def test_a_virtual_machine_is_told_which_cpu_type_to_ask_for() -> None:
    finding = cpu.judge(_FULL.replace("avx2 ", ""), machine="x86_64")

    assert "host" in finding.remedy
    assert cpu.judge("", machine="aarch64").state is State.OK


@pytest.mark.parametrize(
    ("free", "inodes", "code"),
    [(10**11, None, "disk-ok"), (10**9, 10**6, "disk-low"), (10**7, None, "disk-full"),
     (10**11, 5, "disk-inodes")],
)  # fmt: skip
def test_a_disk_is_judged_by_what_is_free(free: int, inodes: int | None, code: str) -> None:
    assert disk.judge(free, inodes, 10_000_000).code == code


@pytest.mark.parametrize(
    ("kilobytes", "group", "code"),
    [(8_000_000, None, "memory-ok"), (1_500_000, None, "memory-low"),
     (500_000, None, "memory-short"), (8_000_000, 500_000_000, "memory-short")],
)  # fmt: skip
def test_memory_is_judged_by_the_tightest_limit(
    kilobytes: int, group: int | None, code: str
) -> None:
    finding = memories.judge(f"MemAvailable: {kilobytes} kB\n", group, 10_000_000)

    assert finding.code == code
    assert ("cgroup" in finding.meaning) == (group is not None)


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [("ext4", "rw", "filesystem-ok"), ("nfs4", "rw", "filesystem-unsound"),
     ("ext4", "ro", "filesystem-read-only"), ("tmpfs", "rw", "filesystem-memory")],
)  # fmt: skip
def test_a_home_is_judged_by_its_file_system(
    tmp_path: Path, kind: str, options: str, code: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 1 8:1 / / rw - ext4 /dev/a rw\n" + f"2 1 8:2 / {tmp_path} {options} - {kind} dev rw\n"
    )

    assert filesystem.judge(tmp_path, mounts).code == code


@pytest.mark.parametrize(
    ("drivers", "reported", "code"),
    [(["NVIDIA"], "cpu", "device-cpu"), (["NVIDIA"], "gpu NVIDIA H100", "device-ok"),
     ([], "cpu", "device-ok"), (["NVIDIA"], None, "device-unasked")],
)  # fmt: skip
def test_a_device_is_judged_by_what_the_trainer_reported(
    drivers: list[str], reported: str | None, code: str
) -> None:
    event = reported and DeviceReported(device=reported, count=1, memory_bytes=None)

    assert device.judge(drivers, event or None).code == code


@pytest.mark.parametrize(
    ("uid", "on", "kills", "code"),
    [(1000, True, True, "linger-ok"), (1000, False, False, "linger-off"),
     (1000, False, True, "linger-kills"), (0, False, True, "linger-ok")],
)  # fmt: skip
def test_linger_matters_where_logout_kills(uid: int, on: bool, kills: bool, code: str) -> None:
    assert linger.judge(uid, "ada", linger=on, kills=kills).code == code


@pytest.mark.parametrize(
    ("columns", "lines", "term", "encoding", "code"),
    [(80, 24, "xterm", "UTF-8", "terminal-ok"), (79, 24, "xterm", "UTF-8", "terminal-small"),
     (80, 24, "dumb", "UTF-8", "terminal-dumb"), (80, 24, "xterm", "latin-1", "terminal-encoding")],
)  # fmt: skip
def test_a_terminal_is_judged_by_what_the_dashboard_needs(
    columns: int, lines: int, term: str, encoding: str, code: str
) -> None:
    assert terminals.judge(columns, lines, term, encoding).code == code


def test_a_temporary_folder_is_judged_by_rights_and_mount(tmp_path: Path) -> None:
    noexec = Mount(point="/tmp", kind="tmpfs", options=("rw", "noexec"))

    assert temporary.judge(tmp_path, True, noexec).code == "tmp-noexec"
    assert temporary.judge(tmp_path, False, noexec).code == "tmp-none"
    assert temporary.judge(tmp_path, True, None).code == "tmp-ok"
