"""Every action by its key: what it opens, what it asks, what it does to a real home."""

import asyncio
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from fedtui import events, operations
from fedtui.events import Event
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.tui import actions, chart, text
from fedtui.tui.dashboard import Dashboard
from fedtui.tui.screens.overlays import TOPICS
from fedtui.tui.sources import Live, Replay
from tests import story
from tests.federation import free_port
from tests.test_tui_layout import drawn

STUDY = """
id = "DIGITS-1"
purpose = "A rehearsal on public digits"
sites = ["halland", "sahlgrenska"]
data = "digits"
model = "mlp"
rounds = {rounds}
expires = "2099-12-31"
approvers = {{ halland = "Anna Berg", sahlgrenska = "Erik Ek" }}
"""


def app_of(pilot: Pilot[None]) -> Dashboard:
    assert isinstance(pilot.app, Dashboard)
    return pilot.app


async def sees(pilot: Pilot[None], words: str | Callable[[], bool]) -> str:
    for _ in range(1200):
        if words() if callable(words) else words in drawn(app_of(pilot)):
            return drawn(app_of(pilot))
        await asyncio.sleep(0.05)
    raise AssertionError(f"never came: {words}\n{drawn(app_of(pilot))}")


async def fill(pilot: Pilot[None], *lines: str) -> None:
    await sees(pilot, lambda: isinstance(pilot.app.focused, Input))
    for line in lines:
        await pilot.press("end", "ctrl+u", *("space" if c == " " else c for c in line), "enter")
        await pilot.pause()


async def confirm(pilot: Pilot[None], key: str, effect: str, word: str) -> None:
    """The order's box names its effect; Enter at once cancels; only the word goes on."""
    await pilot.press(key)
    await sees(pilot, effect)
    assert not isinstance(pilot.app.focused, Input)
    await pilot.press("enter")
    await sees(pilot, "cancelled, nothing has changed")
    await pilot.press(key)
    await sees(pilot, effect)
    await pilot.press(*word, "enter")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A coordinating site with halland enrolled and lund invited; nothing runs."""
    place = Home(tmp_path / "h")
    operations.create(
        place, name="sahlgrenska", coordinator=True, port=free_port(), names=("127.0.0.1",)
    )
    other = Home(tmp_path / "o")
    operations.create(other, name="halland")
    operations.invite(place, "halland", public_key=other.keys / "node.pub")
    operations.issue(place, "lund")
    with place.settings.open("a") as file:
        file.write('\n[data.digits]\npart = "even"\n')
    return place


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "study.toml"
    file.write_text(STUDY.format(rounds=20))
    return file


def told(home: Home, kind: type[Event]) -> list[Event]:
    journal = Journal(home.journal, source="viewer")
    try:
        return [r.event for r in journal.read() if isinstance(r.event, kind)]
    finally:
        journal.close()


async def test_a_coordinator_suspends_takes_back_revokes_and_declines(home: Home) -> None:
    app = Dashboard(Live(home.journal), home)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await sees(pilot, "- INVITED")
        names = [entry["site"] for entry in app.view.desk.roster]
        await pilot.press(*["down"] * names.index("halland"))
        await confirm(pilot, "S", "Refuses halland", "halland")
        await sees(pilot, "! SUSPENDED")
        await confirm(pilot, "S", "Lets halland take part again", "halland")
        await sees(pilot, "halland takes part again")
        await pilot.press("C")
        await sees(pilot, "choose a site that is pending")
        await confirm(pilot, "X", "off the roster for good", "halland")
        await sees(pilot, "x REVOKED")
        await pilot.press("slash", *"lund", "enter")
        await sees(pilot, "Roster with 'lund'")
        await confirm(pilot, "d", "Takes the invitation of lund back", "lund")
        await sees(pilot, "lund is declined")

    assert [e.suspended for e in told(home, events.SiteSuspended)] == [True, False]  # type: ignore[attr-defined]
    assert len(told(home, events.SiteRevoked)) == len(told(home, events.SiteDeclined)) == 1


@pytest.mark.slow
async def test_a_study_is_proposed_read_signed_withdrawn_and_its_next_version_shows_what_changed(
    home: Home, study: Path
) -> None:
    app = Dashboard(Live(home.journal), home)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await sees(pilot, "No study has been proposed yet.")
        await pilot.press("n")
        await fill(pilot, str(study))
        await sees(pilot, "? PROPOSED")
        await pilot.press("S")
        await sees(pilot, "read it to its end first")
        for _ in range(12):
            await pilot.press("pagedown")
        await sees(pilot, "read to its end")
        await pilot.press("S")
        await fill(pilot, "Erik Ek", "a long passphrase", "a long passphrase", "DIGITS-9")
        await sees(pilot, "'DIGITS-9' is not DIGITS-1. Nothing was signed; try again.")
        await pilot.press("escape", "S")
        await fill(pilot, "Erik Ek", "a long passphrase", "a long passphrase", "DIGITS-1")
        await sees(pilot, "is approved by Erik Ek")
        await pilot.press("escape")
        await sees(pilot, "+sahlgrenska")
        await confirm(pilot, "W", "nothing can take that out again", "DIGITS-1")
        await fill(pilot, "")
        await sees(pilot, "is withdrawn by this site")
        await pilot.press("escape")
        await sees(pilot, "xsahlgrenska")

        study.write_text(STUDY.format(rounds=30))
        await pilot.press("n")
        await fill(pilot, str(study))
        await sees(pilot, "DIGITS-1 v2")
        await pilot.press("up", "up", "pageup", "pageup")
        await sees(pilot, "rounds: 20 becomes 30")
        await confirm(pilot, "X", "All sites read the reason", "DIGITS-1")
        await fill(pilot, "too long", "Erik Ek", "a long passphrase")
        await sees(pilot, "x DECLINED")

    said = [getattr(e, "decision", "") for e in told(home, events.DecisionSigned)]
    assert len(said) == 3


async def test_what_others_do_shows_by_itself_on_the_screen_in_front(home: Home) -> None:
    app = Dashboard(Live(home.journal), home)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        await sees(pilot, "of 3")
        operations.issue(home, "umea")
        await sees(pilot, "of 4")
        await pilot.press("6")
        await sees(pilot, "No run has been validated yet.")
        book = Journal(home.journal, source="coordinator")
        book.append_all([(e, 0) for _, e in (*story.told()[8:], (0.0, story.end()))])
        *judged, ended = story.validated()
        for event in judged:
            book.append(event)
        await sees(pilot, "under way")
        book.append(ended)
        book.close()
        await sees(pilot, "No site is worse off beyond chance")


async def test_orders_that_need_a_running_federation_say_what_to_do_without_one(
    home: Home, study: Path
) -> None:
    app = Dashboard(Live(home.journal), home)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5", "z")
        await sees(pilot, "no run is under way")
        await pilot.press("X")
        await sees(pilot, "no run is under way")
        await pilot.press("n")
        await fill(pilot, str(study), "")
        assert "fedtui up" in await sees(pilot, "New run: not done")
        await pilot.press("escape", "6", "v")
        await sees(pilot, "Validate: not done")
        await pilot.press("escape", "8", "e")
        await sees(pilot, "there is no run to export yet")
        await pilot.press("v")
        await fill(pilot, "/nonexistent")
        await sees(pilot, "Verify: not done")


async def test_a_viewer_who_only_looks_has_no_order_at_all(home: Home) -> None:
    app = Dashboard(Live(home.journal), home, readonly=True)
    async with app.run_test(size=(160, 50)) as pilot:
        for number, screen in enumerate(actions.SCREENS, start=1):
            await pilot.press(str(number))
            orders = [a for a in actions.valid(screen) if a.orders]
            before = told(home, Event)
            for action in orders:
                await pilot.press(action.keys[0])
                await pilot.pause()
                assert len(app.screen_stack) == 1 or action.keys[0] not in "SXWRCniuc", action
                if len(app.screen_stack) > 1:
                    await pilot.press("escape")
            assert told(home, Event) == before
            row = drawn(app).splitlines()[-1]
            assert not any(f" {a.shown} {a.label}" in row for a in orders if a.label != "verify")


async def test_charts_have_a_log_scale_and_the_hours_of_rounds() -> None:
    app = Dashboard(Replay(story.records(story.told(9)), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "Round 9/10")
        await pilot.press("m", "l")
        await sees(pilot, "Loss (log)")
        await pilot.press("l", "m", "m")
        await sees(pilot, "Rounds by how long they took")
        await pilot.press("m", "b")
        await sees(pilot, lambda: bool(re.search("[\u2801-\u28ff]", drawn(app))))
        await pilot.press("b", "A")
        assert (await sees(pilot, "+- Round 9/10")).isascii()


async def test_a_filter_leaves_the_lines_that_hold_it_on_every_list() -> None:
    app = Dashboard(Replay(story.records(story.told()), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        app.redraw(checkup=story.checkup(), desk=story.desk())
        for key, words, kept, gone in (
            ("2", "fail", "tcp-refused", "dns "),
            ("3", "umea", ">umea", "halland  "),
            ("4", "declined", "SEPSIS-1 v1", "v2"),
            ("8", "digits", "digits-261123", "nothing"),
        ):
            await pilot.press(key, "slash", *words, "enter")
            seen = await sees(pilot, f"with '{words}'")
            assert kept in seen
            assert gone not in seen.split("├─ Every site")[0]
            await pilot.press("slash", "end", "ctrl+u", *"xyz", "enter")
            await sees(pilot, "Nothing matches")
            await pilot.press("slash", "escape")
            await sees(pilot, lambda: "with '" not in drawn(app))
        await pilot.press("5", "slash", *"sahl", "enter")
        await sees(pilot, ">sahlgrenska")
        await pilot.press("slash", *"umea", "enter")
        await sees(pilot, "no site of this run has 'umea'")


async def test_validate_says_not_yet_while_sites_have_not_answered() -> None:
    started = [(20.0 + n, e) for n, e in enumerate(story.validated(over=False))]
    app = Dashboard(Replay(story.records([*story.told(), (19.0, story.end()), *started]), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        seen = await sees(pilot, "Under way: 1 of 2 sites have answered; sahlgrenska not yet.")
        assert "not yet" in seen.split("Every model")[1]
        assert "not exchanged" not in seen
        await pilot.press("m")
        await sees(pilot, "Calibration slope")
        await pilot.press("pagedown", "pageup", "down", "up")


async def test_help_scrolls_and_opens_the_handbook_on_every_screen() -> None:
    app = Dashboard(Replay(story.records(story.told()), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        app.redraw(checkup=story.checkup(), desk=story.desk())
        for number, screen in enumerate(actions.SCREENS, start=1):
            await pilot.press(str(number), "question_mark")
            await sees(pilot, f"Help: {screen}")
            for _ in range(3):
                await pilot.press("pagedown")
            await sees(pilot, "Ctrl-L Draw the whole screen again.")
            await pilot.press("g")
            await sees(pilot, f"Guide: {TOPICS[screen]}")
            await pilot.press("y", "escape", "escape")
        assert app.clipboard


async def test_copy_write_and_hold_work_on_every_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Dashboard(Replay(story.records(story.told()), speed=0))
    async with app.run_test(size=(80, 24)) as pilot:
        for number, screen in enumerate(actions.SCREENS, start=1):
            await pilot.press(str(number), "y")
            await sees(pilot, "copied, and written to")
            await pilot.press("w")
            await sees(pilot, lambda: any(tmp_path.glob(f"fedtui-{screen}-*.svg")))  # noqa: B023
            assert any(tmp_path.glob(f"fedtui-{screen}-*.txt"))
            await pilot.press("p")
            await sees(pilot, "HELD")
            await pilot.press("p", "ctrl+l")


def test_a_logarithmic_axis_gives_equal_ratios_equal_heights() -> None:
    points = tuple((n, 10.0**-n) for n in range(1, 5))
    one = chart.Series(name="joint", marker="o", role="", points=points)

    lines = chart.draw([one], width=60, height=15, glyphs=text.ASCII, rounds=4, log=True)
    rows = [row for row, line in enumerate(map(text.plain, lines)) if "o" in line]

    assert [b - a for a, b in pairwise(rows)] == [rows[1] - rows[0]] * 3
    assert "0.0001" in "".join(map(text.plain, lines))


def test_a_histogram_counts_every_value_once() -> None:
    values = [0.1, 0.2, 1.0, 1.9, 2.0, 3.5, 3.9, 4.0]

    lines = chart.bars(values, unit="s", width=60, height=6, glyphs=text.ASCII)
    counts = [int(found[1]) for line in lines if (found := re.search(r" (\d+)$", text.plain(line)))]

    assert sum(counts) == len(values)
    assert len(lines) <= 6
    assert all(text.length(line) <= 60 for line in lines)
