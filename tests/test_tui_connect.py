"""Connect: the checks run beside the screen, and what they ask for reaches clipboard and file."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fedtui import events, operations, progress
from fedtui.events import Event
from fedtui.journal import Journal
from fedtui.progress import SiteFinding
from fedtui.site import Home
from fedtui.tui import actions, text
from fedtui.tui.checking import Checkup
from fedtui.tui.dashboard import Dashboard
from fedtui.tui.panels import link, site
from fedtui.tui.sources import Live, Replay
from fedtui.tui.view import View, alarm
from tests import story
from tests.test_tui import shown, until

TOLD = sorted([*story.told(3), *story.checked()], key=lambda pair: pair[0])


@pytest.fixture
def place(tmp_path: Path) -> Home:
    """A home that coordinates at a port where nothing listens."""
    home = Home(tmp_path / "home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    operations.create(home, name="sahlgrenska", coordinator=True, port=port)
    return home


def told(home: Home) -> list[Event]:
    journal = Journal(home.journal, source="viewer")
    try:
        return [r.event for r in journal.read() if isinstance(r.event, events.LinkChecked)]
    finally:
        journal.close()


def at(pairs: list[tuple[float, Event]], seconds: float = 0.0) -> View:
    records = story.records(pairs)
    now = records[-1].time + seconds
    return View(progress=progress.fold(records), records=records, now=now)


async def test_a_closed_port_is_named_with_a_ticket_that_is_copied_and_written(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Dashboard(Live(place.journal), place)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "Not checked from here yet." in shown(pilot))
        assert "harmless" in shown(pilot)

        await pilot.press("r")
        await until(pilot, lambda: "tcp: FAIL tcp-refused" in shown(pilot), 20.0)
        await until(pilot, lambda: "sahlgrenska  tcp x FAIL tcp-refused" in shown(pilot))

        await pilot.press("y")
        await until(pilot, lambda: "NOTE" in shown(pilot))
        (path,) = tmp_path.glob("fedtui-ticket-tcp-*.txt")
        assert path.read_text() == app.clipboard
        assert "Request:   open outbound TCP to 127.0.0.1" in app.clipboard
        assert path.stat().st_mode & 0o777 == 0o600

        await pilot.press("w")
        await until(pilot, lambda: "1 ticket written to" in shown(pilot))
        (path,) = tmp_path.glob("fedtui-tickets-*.txt")
        assert path.read_text() == app.clipboard
    assert len(told(place)) == 1


async def test_a_viewer_who_only_looks_checks_and_journals_nothing(place: Home) -> None:
    app = Dashboard(Live(place.journal), place, readonly=True)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("2", "r")
        await until(pilot, lambda: "tcp: FAIL tcp-refused" in shown(pilot), 20.0)

    assert told(place) == []


async def test_checks_that_come_to_nothing_say_why(place: Home) -> None:
    app = Dashboard(Live(place.journal), place)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Federation" in shown(pilot))
        (place.path / "site.toml").write_text("name = 'sahlgrenska'\nroles = 7\n")
        await pilot.press("2", "r")

        await until(pilot, lambda: "site.toml, line 2, roles: a list" in shown(pilot), 20.0)


async def test_keys_choose_a_finding_and_read_on_in_it() -> None:
    app = Dashboard(Replay(story.records(TOLD), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        app.redraw(checkup=story.checkup())
        await until(pilot, lambda: "PgDn: 6 more" in shown(pilot))

        await pilot.press("pagedown")
        await until(pilot, lambda: "Evidence:  connection refused" in shown(pilot))
        await pilot.press("j")
        await until(pilot, lambda: "dns: WARN dns-slow" in shown(pilot))
        await pilot.press("k", "k")
        await until(pilot, lambda: ">tcp" in shown(pilot) and "found   refused" in shown(pilot))


async def test_nothing_is_claimed_before_the_first_checks_have_ended() -> None:
    app = Dashboard(Replay(story.records(TOLD), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        app.redraw(checkup=Checkup(since=app.view.now))

        await until(pilot, lambda: "checking …" in shown(pilot))
        assert not {"OK", "FAIL"} & set(shown(pilot).split("What to do")[0].split())


async def test_the_checks_under_way_leave_the_last_findings_and_say_so() -> None:
    app = Dashboard(Replay(story.records(TOLD), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        since = app.view.now - 12.0
        app.redraw(checkup=replace(story.checkup(), since=since, deep=True))

        await until(pilot, lambda: "checking deeply … 10 s; below: of " in shown(pilot))


async def test_a_log_shows_what_its_sites_told_and_checks_nothing() -> None:
    app = Dashboard(Replay(story.records(TOLD), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "halland      tls x FAIL tls-intercepted" in shown(pilot))
        assert "Ask for an exception" in shown(pilot)
        before = shown(pilot)
        await pilot.press("r", "D")
        await pilot.pause()

        assert shown(pilot) == before
        assert "r check" not in before


def test_the_tickets_keys_are_connects_own_and_need_a_home() -> None:
    def named(screen: str, home: bool) -> dict[str, str]:
        return {key: a.name for a in actions.valid(screen, home=home) for key in a.keys}

    assert named(actions.CONNECT, True)["y"] == "copy_ticket"
    assert named(actions.CONNECT, False)["y"] == named(actions.LOGS, True)["y"] == "copy"
    assert "r" not in named(actions.CONNECT, False)
    assert not actions.found("deep", actions.valid(actions.CONNECT, home=False))


def test_the_last_findings_of_each_site_are_kept_with_the_time_they_came() -> None:
    worse = {"tls": "FAIL tls-intercepted", "clock": "WARN clock-off"}
    again = events.LinkChecked(site="halland", findings=worse, unwell={"tls": "t", "clock": "c"})

    found = progress.fold(story.records([*story.checked(), (50.0, again)])).findings

    assert list(found) == ["sahlgrenska", "halland"]
    assert found["halland"]["tcp"] == SiteFinding(
        state="OK", code="tcp-ok", since=story.START + 4.6
    )
    assert found["halland"]["tls"].since == story.START + 10.6  # the same since then
    assert found["halland"]["clock"].since == story.START + 50.0
    assert found["halland"]["tls"].words == "t"


def test_a_link_that_fails_is_an_alarm_until_it_is_well_again() -> None:
    well = events.LinkChecked(site="halland", findings={"tls": "OK tls-ok"}, unwell={})
    warned = events.LinkChecked(site="halland", findings={"dns": "WARN d"}, unwell={"dns": "slow"})

    said = "halland: tls FAIL tls-intercepted, 5 s ago; press 2"
    assert alarm(at(TOLD)) == ("FAIL", "fail", said)
    assert ("Checks", "FAIL") in [step[:2] for step in site.steps(at(TOLD))]
    assert alarm(at([*TOLD, (30.0, well)]))[0] == "OK"
    mended = at([*TOLD, (30.0, well), (31.0, warned)])
    assert alarm(mended)[0] == "OK"  # a warning stops nothing
    assert ("Checks", "WARN") in [step[:2] for step in site.steps(mended)]


def test_what_does_not_fit_is_counted_and_bad_links_come_first() -> None:
    many = [
        (float(n), events.LinkChecked(site=f"site{n}", findings={"tcp": "OK tcp-ok"}, unwell={}))
        for n in range(9)
    ]
    view = at([*many, *story.checked()], 12.0)

    lines = [text.plain(line) for line in link.sites(view, 76, 3)]

    assert lines[0].startswith("halland      tls x FAIL tls-intercepted, 10:00:")
    assert lines[2] == "and 9 more; 7 Logs has all of them"


def test_a_cause_that_ends_with_a_full_stop_is_told_with_one() -> None:
    ended = events.RunEnded(run="r", outcome="failed", cause="No site answered.")
    down = events.LinkChanged(up=False, code="c", cause="nothing listens.")

    assert ended.sentence == "run r failed: No site answered."
    assert down.sentence == "the link to the coordinator is down: nothing listens."


def test_a_viewer_that_has_checked_holds_neither_flower_nor_jax(place: Home) -> None:
    program = """
import sys, threading
from pathlib import Path
import fedtui.tui.app
from fedtui.site import Home
from fedtui.tui import checking
done = threading.Event()
checking.start(Home(Path(sys.argv[1])), checking.Checkup(), keep=True, done=lambda _: done.set())
assert done.wait(20)
heavy = {"flwr", "jax", "flax", "optax", "polars", "numpy", "sklearn", "models", "datasets"}
print(*sorted(heavy & set(sys.modules)))
"""
    command = [sys.executable, "-c", program, str(place.path)]
    answer = subprocess.run(command, capture_output=True, text=True)

    assert (answer.stdout.strip(), answer.stderr) == ("", "")
