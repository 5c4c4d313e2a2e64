"""What processes are given: an environment, large pages, extras that can be installed."""

import os
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fedtui import processes
from fedtui.site import Home

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_children_never_reach_loopback_through_a_proxy(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "intern.example,10.0.0.1")

    values = processes.environment(home)

    assert {"localhost", "127.0.0.1", "::1", "intern.example", "10.0.0.1"} == set(
        values["NO_PROXY"].split(",")
    )
    assert values["HTTPS_PROXY"] == "http://proxy:3128"
    assert values["FLWR_TELEMETRY_ENABLED"] == "0"


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc"
    or [int(part) for part in platform.libc_ver()[1].split(".")] < [2, 35],
    reason="no glibc that can ask for large pages",
)
@pytest.mark.skipif(
    not LARGE_PAGES.exists() or "[madvise]" not in LARGE_PAGES.read_text(),
    reason="the kernel gives large pages to nobody, or to everybody",
)
def test_a_trainers_memory_comes_in_large_pages() -> None:
    body = """
import resource

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before = faults()
for _ in range(10):
    b"x" * 80_000_000
print(faults() - before)
"""

    def pages(environment: dict[str, str]) -> int:
        words = [sys.executable, "-c", body]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}

    assert pages(processes.for_training(plain)) < pages(plain) / 10


def test_an_operators_own_tunables_are_left_alone() -> None:
    own = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=3"}

    assert processes.for_training(own)["GLIBC_TUNABLES"] == own["GLIBC_TUNABLES"]


def test_threads_share_two_heaps_and_what_was_imported_is_not_searched_for_cycles(
    home: Home,
) -> None:
    script = f"""
import gc, re, threading
from pathlib import Path
from fedtui import processes
from fedtui.site import Home

def body():
    gate = threading.Barrier(12)
    def work():
        kept = [bytes(1000) for _ in range(1000)]  # more than pymalloc takes: malloc's
        gate.wait()
    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    maps = Path("/proc/self/maps").read_text()
    starts = [int(line.split("-")[0], 16) for line in maps.splitlines() if len(line.split()) == 5]
    print(sum(start % (64 << 20) == 0 for start in starts), gc.get_freeze_count())

processes.carry(Home(Path({str(home.path)!r})), "agent", body)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout

    heaps, frozen = map(int, told.split())
    assert heaps <= 2  # the first one is not such a region
    assert frozen > 10_000


SAME_BITS = "--xla_gpu_exclude_nondeterministic_ops=true"


@pytest.mark.parametrize(
    ("own", "flags"),
    [
        ({}, SAME_BITS),
        ({"XLA_FLAGS": " "}, SAME_BITS),
        ({"XLA_FLAGS": "--xla_dump_to=/tmp/x"}, f"{SAME_BITS} --xla_dump_to=/tmp/x"),
        (
            {"XLA_FLAGS": "--xla_gpu_exclude_nondeterministic_ops=false"},
            f"{SAME_BITS} --xla_gpu_exclude_nondeterministic_ops=false",
        ),
        ({"XLA_FLAGS": "/etc/xla.flags"}, "/etc/xla.flags"),
    ],
)
def test_training_has_what_it_wants_beside_the_operators_own_flags(
    own: dict[str, str], flags: str
) -> None:
    wanted = processes.for_training({"PATH": "/bin", **own})

    assert wanted["XLA_FLAGS"] == flags
    assert wanted["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert wanted["PATH"] == "/bin"


def test_of_a_flag_that_is_named_twice_xla_takes_the_last() -> None:
    flag = "--xla_force_host_platform_device_count"

    done = subprocess.run(
        [sys.executable, "-c", "import jax; print(jax.local_device_count())"],
        env=os.environ | {"XLA_FLAGS": f"{flag}=2 {flag}=3"}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.stdout.split() == ["3"]


def test_every_extra_that_a_remedy_names_can_be_installed() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    sources = [path.read_text() for path in (root / "fedtui").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"fedtui\[(\w+)\]", text)}

    assert named
    assert named <= set(project["optional-dependencies"])
