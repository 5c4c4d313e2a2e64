"""A site ends its own membership: told or untold, in and out of runs, and how it comes back."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtui import events, keys, operations, processes, site
from fedtui.errors import BusyError, TrustError, UsageError
from fedtui.flower.link import Link, RevokedError
from fedtui.site import Home
from fedtui.study import Quorum
from fedtui.transport import LinkError
from tests import federation as fed
from tests.conftest import STRANGE
from tests.federation import COORDINATOR, Federation, records, until


@pytest.fixture
def malmo(trio: Federation) -> Iterator[Home]:
    """The third site with its agent up; on the roster again afterwards, and down."""
    home = trio.homes[STRANGE]
    after = fed.head(home)
    trio.up(STRANGE)
    until(home, lambda e: isinstance(e, events.LinkChanged) and e.up, after=after)
    yield home
    operations.down(home)
    operations.invite(trio.coordinator, STRANGE, public_key=home.keys / "node.pub")
    home.ended.unlink(missing_ok=True)


def leave(home: Home, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fedtui.cli", "leave", *words, "--home", str(home.path)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def standing(made: Federation, name: str) -> str:
    return {e["site"]: str(e["state"]) for e in operations.sites(made.coordinator)}[name]


def test_a_site_leaves_in_the_middle_of_a_run_only_when_told_to_and_can_come_back(
    trio: Federation, malmo: Home
) -> None:
    run = trio.start(
        fed.study(sites=(COORDINATOR, STRANGE), rounds=100_000, quorum=Quorum(minimum_sites=1))
    )
    until(malmo, lambda e: isinstance(e, events.RoundEnded) and e.run == run)
    here, there = fed.head(trio.coordinator), fed.head(malmo)
    with pytest.raises(BusyError, match="takes part in run") as refused:
        operations.leave(malmo)
    assert processes.running(malmo, "agent")

    left = operations.leave(malmo, now=True)
    goes_on = until(
        trio.coordinator,
        lambda e: isinstance(e, events.RoundEnded) and set(e.by_site) == {COORDINATOR},
        after=here,
    )
    again = operations.leave(malmo)

    assert "--now" in refused.value.remedy
    assert left.untold is again.untold is None
    assert isinstance(goes_on.event, events.RoundEnded)
    assert goes_on.event.run == run
    assert standing(trio, STRANGE) == "left"
    (told,) = (e for _, e in records(trio.coordinator, events.SiteLeft, after=here))
    assert told.sentence == "malmo left the federation."
    assert [e.untold for _, e in records(malmo, events.SiteLeft, after=there)] == ["", ""]
    assert operations.status(malmo)["processes"] == {}
    assert operations.status(malmo)["link"] == "ended"
    assert (malmo.keys / "node.key").exists()
    with pytest.raises(TrustError, match="has left its federation"):
        trio.up(STRANGE)

    trio.idle()
    code = operations.issue(trio.coordinator, STRANGE, address=f"127.0.0.1:{trio.port}").code
    operations.confirm(trio.coordinator, STRANGE, operations.claim(malmo, code).words)
    after = fed.head(malmo)
    trio.up(STRANGE)
    until(malmo, lambda e: isinstance(e, events.LinkChanged) and e.up, after=after)
    assert standing(trio, STRANGE) == "enrolled"


def test_a_home_that_does_not_know_that_its_site_left_is_told_under_the_federations_key(
    trio: Federation, malmo: Home
) -> None:
    operations.leave(malmo, now=True)
    malmo.ended.unlink()  # e.g. a home put back from a backup
    member, key = site.load_membership(malmo), keys.load_private(malmo.keys / "node.key")
    with Link(member, site=STRANGE, key=key) as link, pytest.raises(RevokedError) as said:
        link.post("/fedtui/report", {})

    assert "This site left its federation" in str(said.value)


def test_a_coordinators_own_site_cannot_leave(trio: Federation) -> None:
    home = trio.coordinator
    with pytest.raises(UsageError, match="coordinates this federation"):
        operations.leave(home)
    key = keys.load_private(home.keys / "node.key")
    member = site.load_membership(home)
    with Link(member, site=COORDINATOR, key=key) as link, pytest.raises(LinkError) as refused:
        link.post("/fedtui/leave", {})

    assert refused.value.code == "status-400"
    assert standing(trio, COORDINATOR) == "enrolled"


def test_without_a_link_a_site_leaves_and_says_that_the_coordinator_does_not_know(
    tmp_path: Path,
) -> None:
    dmz, home = Home(tmp_path / "dmz"), Home(tmp_path / "halland")
    operations.create(dmz, "dmz", coordinator=True, data=False)
    operations.create(home, "halland")
    invitation = tmp_path / "invitation"
    address = f"127.0.0.1:{fed.free_port()}"
    invitation.write_text(
        operations.invite(dmz, "halland", public_key=home.keys / "node.pub", address=address)
    )
    operations.join(home, invitation)

    unasked = leave(home)
    left = leave(home, "--yes")
    again = leave(home, "--yes", "--json")
    started = subprocess.run(
        [sys.executable, "-m", "fedtui.cli", "up", "--home", str(home.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
    assert left.returncode == 3
    assert left.stdout == f"halland has left the federation at {address}\n"
    assert "The coordinator does not know: The coordinator was not reached" in left.stderr
    assert "fedtui sites --revoke halland" in left.stderr
    document = json.loads(again.stdout)
    assert (again.returncode, document["told"], document["exit_code"]) == (3, False, 3)
    assert all(e.untold for _, e in records(home, events.SiteLeft))
    assert len(records(home, events.SiteLeft)) == 2
    assert started.returncode == 5
    assert "has left its federation" in started.stderr
    assert operations.runs(home) == []
