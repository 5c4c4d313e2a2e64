"""A site that may dial one port and nothing else, as a hospital's firewall has it (needs root)."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fedtui import events, operations
from fedtui.record import Record
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, records, until

NAMESPACE, OUTER, INNER = "fedtui-test", "fedtui-t0", "fedtui-t1"
HERE, THERE = "10.213.77.1", "10.213.77.2"
TOLD_SECONDS = 10.0  # the promise: a cut link is shown within


def missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    return next((f"needs {tool}" for tool in ("ip", "nft") if shutil.which(tool) is None), "")


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "can run")


def sh(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command}: {done.stderr.strip()}")


def inside(code: str, *arguments: str) -> str:
    """What Python prints when it runs ``code`` in the site's network namespace."""
    done = subprocess.run(
        ["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def remove() -> None:
    subprocess.run(["ip", "netns", "del", NAMESPACE], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", OUTER], capture_output=True, check=False)


@dataclass
class Walled:
    """A federation whose second site lives behind a wall."""

    federation: Federation

    def cut(self) -> None:
        sh(f"ip -n {NAMESPACE} link set {INNER} down")

    def mend(self) -> None:
        sh(f"ip -n {NAMESPACE} link set {INNER} up")


@pytest.fixture(scope="module")
def walled() -> Iterator[Walled]:
    remove()
    port = fed.free_port()
    try:
        sh(f"ip netns add {NAMESPACE}")
        sh(f"ip link add {OUTER} type veth peer name {INNER} netns {NAMESPACE}")
        sh(f"ip addr add {HERE}/30 dev {OUTER}")
        sh(f"ip link set {OUTER} up")
        sh(f"ip -n {NAMESPACE} addr add {THERE}/30 dev {INNER}")
        sh(f"ip -n {NAMESPACE} link set {INNER} up")
        sh(f"ip -n {NAMESPACE} link set lo up")
        sh(f"ip -n {NAMESPACE} route add default via {HERE}")
        wall = f"ip netns exec {NAMESPACE} nft"
        sh(f"{wall} add table inet wall")
        sh(f"{wall} add chain inet wall out {{ type filter hook output priority 0; policy drop; }}")
        sh(f"{wall} add rule inet wall out oif lo accept")
        sh(f"{wall} add rule inet wall out ip daddr {HERE} tcp dport {port} accept")
    except OSError as error:
        remove()
        pytest.skip(f"no network namespace can be made here: {error}")
    try:
        with fed.homes(
            COORDINATOR, SITE, port=port, host=HERE, dial=f"{HERE}:{port}", listed=(HERE,)
        ) as made:
            made.up(COORDINATOR)
            inside(
                "import sys; from pathlib import Path; from fedtui import operations, site;"
                "operations.up(site.Home(Path(sys.argv[1])))",
                str(made.site.path),
            )
            for name in made.homes:
                made.linked(name)
            yield Walled(made)
    finally:
        remove()


def test_behind_the_wall_nothing_but_the_coordinators_port_answers(walled: Walled) -> None:
    with socket.create_server((HERE, 0)) as other:
        targets = [(HERE, walled.federation.port), (HERE, other.getsockname()[1]), (HERE, 22)]

        code = (
            "import socket, sys, json\n"
            "found = []\n"
            "for host, port in json.loads(sys.argv[1]):\n"
            "    try: socket.create_connection((host, port), timeout=1).close()\n"
            "    except OSError: found.append(False)\n"
            "    else: found.append(True)\n"
            "print(json.dumps(found))"
        )
        reached = json.loads(inside(code, json.dumps(targets)))

    assert reached == [True, False, False]


def test_a_run_needs_no_more_than_that_port(walled: Walled) -> None:
    ended = walled.federation.run(fed.study())

    assert ended.outcome == "completed"


@pytest.mark.slow
def test_a_cut_link_stalls_the_round_is_shown_truthfully_and_the_run_finishes(
    walled: Walled,
) -> None:
    made = walled.federation
    terms = fed.study(rounds=30)
    run = made.start(terms)
    until(made.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.round == 3)
    here, there = fed.head(made.coordinator), fed.head(made.site)

    walled.cut()
    cut = time.time()
    try:
        told: list[Record] = [
            until(
                made.coordinator,
                lambda e: isinstance(e, events.SiteSeen) and e.site == SITE and not e.here,
                after=here,
            ),
            until(
                made.coordinator,
                lambda e: isinstance(e, events.SitesAwaited) and e.sites == (SITE,),
                after=here,
            ),
            until(made.site, lambda e: isinstance(e, events.LinkChanged) and not e.up, after=there),
        ]
        stalled = operations.status(made.coordinator)["run"]
        link = operations.status(made.site)["link"]
    finally:
        walled.mend()

    assert max(record.time for record in told) - cut < TOLD_SECONDS
    assert stalled["state"] == "RUNNING"
    assert stalled["awaited"] == [SITE]
    assert link == "down"
    assert made.ended(run).outcome == "completed"
    rounds = [e.round for _, e in records(made.coordinator, events.RoundEnded, run=run)]
    assert rounds == list(range(1, 31))
