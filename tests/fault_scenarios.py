"""Faults in the middle of a run that its operators would meet: power, disks, clocks, terminals."""

import contextlib
import errno
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from fedtui import events, operations, orders, processes
from fedtui.errors import OperatorError
from fedtui.site import Home
from tests import federation as fed
from tests import thin
from tests.fault_bench import ROUNDS, STUDY, Bench, Skipped, moment, scenario
from tests.federation import COORDINATOR, SITE, Proxy
from tests.terminal import Terminal

FEDTUI = str(Path(sys.executable).with_name("fedtui"))


@scenario(tier=1, repeats=2)
def many_faults_in_one_run(bench: Bench, chance: Random) -> None:
    """Four faults one after the other, drawn by the seed."""
    faults: list[Callable[[], None]] = [
        lambda: bench.kill(bench.site, "agent"),
        lambda: bench.kill(bench.site, "trainer"),
        lambda: bench.kill(bench.coordinator, "coordinator"),
        lambda: bench.kill(bench.coordinator, "agent"),
        lambda: bench.kill(bench.coordinator, "trainer"),
        lambda: bench.kill(bench.site, "supervisor"),
        lambda: bench.freeze(bench.site, "agent", 3.0),
        lambda: bench.freeze(bench.coordinator, "coordinator", 3.0),
        lambda: bench.partition(5.0),
    ]
    for number, fault in enumerate(chance.sample(faults, 4)):
        bench.round(1 + 2 * number)
        time.sleep(chance.uniform(0.0, 0.3))
        fault()


@scenario(tier=1, slow=True)
def a_site_loses_power(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    bench.reboot(bench.site)


@scenario(tier=1)
def the_coordinator_loses_power(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    bench.reboot(bench.coordinator)


@scenario(tier=1)
def the_operators_terminal_is_lost(bench: Bench, chance: Random) -> None:
    """The dashboard's line hangs up, and another one is killed."""
    command = [FEDTUI, "--home", str(bench.site.path)]
    with Terminal(command) as first, Terminal(command) as second:
        first.until("quit", seconds=60)
        second.until("quit", seconds=60)
        moment(bench, chance)
        first.close()
        bench.note("hangup", "dashboard")
        second.process.kill(signal.SIGKILL)
        bench.note("SIGKILL", "dashboard")
        assert first.ended(30) is not None


@contextlib.contextmanager
def _over_ssh(bench: Bench) -> Iterator[None]:
    """The site's operator sits elsewhere, with the dashboard open over SSH."""
    if thin.MISSING:
        raise Skipped(thin.MISSING)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ssh"))
        port, words = stack.enter_context(thin.server(Path(folder)))
        line = Proxy(port)
        stack.callback(line.close)
        remote = shlex.join([FEDTUI, "--home", str(bench.site.path)])
        command = [*words, "-p", str(line.port), f"TERM=xterm-256color {remote}"]
        terminal = stack.enter_context(Terminal(command))
        terminal.until("quit", seconds=60)
        _SESSION.append((line, terminal))
        stack.callback(_SESSION.clear)
        yield


_SESSION: list[tuple[Proxy, Terminal]] = []


@scenario(tier=1, around=_over_ssh, slow=True)
def an_ssh_connection_is_lost(bench: Bench, chance: Random) -> None:
    """Its dashboard ends with it, and nothing else does."""
    line, terminal = _SESSION[0]
    moment(bench, chance)
    assert _viewers(bench.site)
    line.cut()
    bench.note("SSH connection cut", SITE)
    assert terminal.ended(60) is not None
    end = time.monotonic() + 60
    while _viewers(bench.site):
        assert time.monotonic() < end, "the dashboard outlives its session"
        time.sleep(0.2)


def _viewers(home: Home) -> list[int]:
    """The dashboards at a home."""
    wanted = ["--home", str(home.path)]
    return [p.pid for p in fed.living(home.path) if p.cmdline()[-2:] == wanted]


@scenario(tier=1, slow=True)
def a_second_start_is_no_second_agent(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    before = bench.pid(bench.site, "agent")
    bench.note("up again", SITE)
    with contextlib.suppress(OperatorError):
        operations.up(bench.site)
    assert bench.pid(bench.site, "agent") == before


@scenario(tier=1, breaks_hosts=True, slow=True)
def the_sites_disk_is_full(bench: Bench, chance: Random) -> None:
    """Both screens say so while it is; then it goes on by itself."""
    moment(bench, chance)
    here, there = fed.head(bench.coordinator), fed.head(bench.site)
    bench.note("disk full", SITE)
    bench.hosts[SITE].fill()
    bench.told(
        bench.coordinator,
        lambda e: isinstance(e, events.SitesAwaited) and any("disk" in c for c in e.causes),
        here,
    )
    assert orders.order(bench.site, "agent", "status")["storage"]
    bench.hosts[SITE].mend()
    bench.note("disk writes again", SITE)
    bench.told(bench.site, lambda e: isinstance(e, events.StorageAwaited), there)


@scenario(tier=1, breaks_hosts=True)
def the_coordinators_disk_is_full(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    here, there = fed.head(bench.coordinator), fed.head(bench.site)
    bench.note("disk full", COORDINATOR)
    bench.hosts[COORDINATOR].fill()
    bench.told(
        bench.site, lambda e: isinstance(e, events.LinkChanged) and e.code == "storage", there
    )
    bench.hosts[COORDINATOR].mend()
    bench.note("disk writes again", COORDINATOR)
    bench.told(bench.coordinator, lambda e: isinstance(e, events.StorageAwaited), here)


@scenario(
    tier=1,
    breaks_hosts=True,
    study=fed.study(id="alone", sites=(COORDINATOR,), rounds=ROUNDS, training=STUDY.training),
    slow=True,
)
def an_idle_site_hears_of_the_coordinators_full_disk(bench: Bench, chance: Random) -> None:
    """Nothing that this site sends has to be written there."""
    the_coordinators_disk_is_full(bench, chance)


@contextlib.contextmanager
def _on_a_small_disk(bench: Bench) -> Iterator[None]:
    """The site's home lies on a file system of its own, of 64 MB."""
    home = bench.site.path
    with tempfile.TemporaryDirectory(prefix="aside") as aside:
        processes.stop(bench.site)
        shutil.copytree(home, aside, dirs_exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", str(home)]
        tried = subprocess.run(mount, capture_output=True, text=True, check=False)
        if tried.returncode:
            _start(bench)
            raise Skipped(f"no file system can be mounted here: {tried.stderr.strip()}")
        try:
            shutil.copytree(aside, home, dirs_exist_ok=True)
            _start(bench)
            yield
        finally:
            processes.stop(bench.site)
            shutil.copytree(home, aside, dirs_exist_ok=True)
            subprocess.run(["umount", str(home)], check=True)
            shutil.copytree(aside, home, dirs_exist_ok=True)
            _start(bench)


def _start(bench: Bench) -> None:
    after = fed.head(bench.site)
    bench.up(bench.site)
    bench.made.linked(SITE, after=after)


@scenario(tier=2, around=_on_a_small_disk, repeats=3)
def a_small_disk_is_full(bench: Bench, chance: Random) -> None:
    """To the last byte, by another program; then that one cleans up."""
    moment(bench, chance)
    here, there = fed.head(bench.coordinator), fed.head(bench.site)
    other = bench.site.path / "of-another-program"
    with other.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    bench.note(f"disk full, {other.stat().st_size} bytes of another's", SITE)
    bench.told(
        bench.coordinator,
        lambda e: isinstance(e, events.SitesAwaited) and any("disk" in c for c in e.causes),
        here,
    )
    assert orders.order(bench.site, "agent", "status")["storage"]
    other.unlink()
    bench.note("space again", SITE)
    bench.told(bench.site, lambda e: isinstance(e, events.StorageAwaited), there)


@scenario(tier=1, repeats=2, breaks_hosts=True, slow=True)
def every_nth_write_fails(bench: Bench, chance: Random) -> None:
    """At one host and then at the other, with n drawn, for a few seconds of a run."""
    for number, name in enumerate((SITE, COORDINATOR)):
        bench.round(1 + 4 * number)
        every, code = chance.randint(2, 40), chance.choice((errno.EIO, errno.ENOSPC))
        bench.note(f"each {every}. write fails with {errno.errorcode[code]}", name)
        bench.hosts[name].fail(every, code)
        time.sleep(5.0)
        bench.hosts[name].mend()
        bench.note("disk writes again", name)


@scenario(tier=1, repeats=2, breaks_hosts=True, slow=True)
def a_clock_jumps(bench: Bench, chance: Random) -> None:
    """Ten minutes ahead or back, at the site and then at the coordinator; the site says so."""
    _jump(bench, chance.choice((600, -600)), chance.choice((600, -600)))


@scenario(tier=2, repeats=4, breaks_hosts=True)
def a_clock_jumps_by_a_day(bench: Bench, chance: Random) -> None:
    """Further than a message lives at Flower, and for longer than a site is silent."""
    _jump(bench, chance.choice((86400, -86400)), chance.choice((86400, -86400)), lasts=8.0)


def _jump(bench: Bench, *jumps: int, lasts: float = 0.0) -> None:
    for number, (name, seconds) in enumerate(zip((SITE, COORDINATOR), jumps, strict=True)):
        bench.round(1 + 4 * number)
        after = fed.head(bench.site)
        bench.note(f"clock jumps by {seconds} s", name)
        bench.hosts[name].jump(seconds)
        bench.told(
            bench.site,
            lambda e: isinstance(e, events.LinkChanged) and e.code in ("clock", "stale"),
            after,
        )
        time.sleep(lasts)
        bench.hosts[name].mend()
        bench.note("clock is right", name)
