"""A whole federation from two dashboards alone: every order by its keys, on real processes."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from fedtui import processes
from fedtui.site import Home
from fedtui.tui.dashboard import Dashboard
from fedtui.tui.sources import Live
from tests.federation import free_port
from tests.test_tui_layout import drawn

STUDY = """
id = "DIGITS-1"
purpose = "A rehearsal on public digits"
sites = ["halland", "sahlgrenska"]
data = "digits"
model = "mlp"
rounds = 2
normalisation = "none"
expires = "2099-12-31"
approvers = { halland = "Anna Berg", sahlgrenska = "Erik Ek" }
[training]
learning_rate = 0.1
batch = 32
"""
REHEARSAL = """
id = "REHEARSAL"
purpose = "To be stopped"
sites = ["halland", "sahlgrenska"]
data = "digits"
model = "mlp"
rounds = 500
normalisation = "none"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets lie in the homes."""
    made = Path(tempfile.mkdtemp(prefix="fd-"))
    yield made
    for home in made.iterdir():
        if (home / "site.toml").exists():
            processes.stop(Home(home))
    shutil.rmtree(made, ignore_errors=True)  # a closing journal takes its own files away


async def until(pilot: Pilot[None], holds: Callable[[], bool], what: str) -> None:
    app = pilot.app
    assert isinstance(app, Dashboard)
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never came: {what}\n{drawn(app)}")


async def sees(pilot: Pilot[None], words: str) -> str:
    app = pilot.app
    assert isinstance(app, Dashboard)
    await until(pilot, lambda: words in drawn(app), words)
    return drawn(app)


async def fill(pilot: Pilot[None], *lines: str) -> None:
    """Each line of a form: what stood there goes, then what is typed, then Enter."""
    await until(pilot, lambda: isinstance(pilot.app.focused, Input), "a form")
    for line in lines:
        await pilot.press("end", "ctrl+u", *("space" if c == " " else c for c in line))
        await pilot.press("enter")
        await pilot.pause()


def watching(home: Home, *, readonly: bool = False) -> Dashboard:
    return Dashboard(Live(home.journal), home, readonly=readonly)


def offer_digits(home: Home, part: str) -> None:
    with home.settings.open("a") as file:
        file.write(f'\n[data.digits]\npart = "{part}"\n')


@pytest.mark.timeout(400)
async def test_two_operators_do_everything_from_their_dashboards(folder: Path) -> None:
    west, south = Home(folder / "w"), Home(folder / "s")
    port = free_port()
    study = folder / "study.toml"
    study.write_text(STUDY)
    rehearsal = folder / "rehearsal.toml"
    async with watching(west).run_test(size=(100, 40)) as one:
        here = one.app
        assert isinstance(here, Dashboard)
        await sees(one, "no site yet")
        await one.press("n")
        await sees(one, "New site")
        await fill(one, "sahlgrenska", "yes", "127.0.0.1", str(port))
        await until(one, lambda: here.progress.site == "sahlgrenska", "the site")
        offer_digits(west, "even")
        await one.press("u")
        await until(one, lambda: bool(here.progress.link), "the link")
        await one.press("3")
        await sees(one, "coordinates this federation")
        await one.press("i")
        await fill(one, "halland", "")
        code = re.search(r"127\.0\.0\.1:\d+/[0-9A-Z-]+", await sees(one, "operator alone"))
        assert code is not None
        assert len(code[0]) <= 60
        await one.press("escape")

        async with watching(south).run_test(size=(80, 24)) as two:
            there = two.app
            assert isinstance(there, Dashboard)
            await two.press("3", "c")
            await fill(two, code[0])
            box = await sees(two, "Read these six words")
            words = re.search(r"│\s{5,}((?:[a-z]+ ){5}[a-z]+)\s", box)
            assert words is not None, box
            offer_digits(south, "odd")
            await two.press("escape", "1", "u")
            await sees(one, "PENDING")
            await one.press("slash", *"halland", "enter", "C")
            await sees(one, "Type the six words")
            await fill(one, words[1])
            await sees(one, "halland is enrolled")
            await until(two, lambda: bool(there.progress.link), "halland's link")

            await one.press("4", "n")
            await fill(one, str(study))
            await sees(one, "DIGITS-1 v1")
            await two.press("4")
            await sees(two, "DIGITS-1 v1")
            await two.press("S")
            await sees(two, "read it to its end first")
            for pilot, person in ((one, "Erik Ek"), (two, "Anna Berg")):
                for _ in range(30):
                    await pilot.press("pagedown")
                await sees(pilot, "read to its end")
                await pilot.press("S")
                await sees(pilot, "Signs DIGITS-1 v1")
                await fill(pilot, person, "a long passphrase", "a long passphrase", "DIGITS-1")
            await sees(one, "APPROVED")
            await one.press("R")
            await sees(one, "Starts a run")
            await one.press(*"DIGITS-1", "enter")
            await until(one, lambda: here.progress.run is not None, "the run")
            await one.press("5")
            await until(
                two,
                lambda: there.progress.run is not None and there.progress.run.over,
                "the run's end at halland",
            )
            assert there.progress.run is not None
            assert there.progress.run.state == "COMPLETED", there.progress.run.cause
            await two.press("6")
            await sees(two, "Is joining worth it?")
            await until(
                two,
                lambda: there.view.compared is not None and there.view.compared.outcome != "",
                "the validation's end",
            )

        first = here.progress.run
        assert first is not None
        rehearsal.write_text(REHEARSAL)
        await one.press("5", "n")
        await fill(one, str(rehearsal), "")
        await until(
            one, lambda: here.progress.run.run != first.run and here.progress.run.round > 0,
            "the second run",
        )  # fmt: skip
        await one.press("z")
        await until(one, lambda: here.progress.run.state == "PAUSED", "the pause")
        await one.press("z")
        await until(one, lambda: here.progress.run.state == "RUNNING", "the resumed run")
        await one.press("X")
        await sees(one, "Ends run rehearsal")
        await one.press(*"REHEARSAL", "enter")
        await until(one, lambda: here.progress.run.state == "STOPPED", "the stopped run")
        await one.press("6", "v")
        await until(
            one,
            lambda: (
                here.view.compared is not None
                and here.view.compared.attempt == 2
                and here.view.compared.outcome != ""
            ),
            "the second validation",
        )

        await one.press("8", "slash", *first.run, "enter", "e")
        await fill(one, str(folder / "export"))
        await sees(one, "journal.jsonl")
        await one.press("escape", "v")
        await fill(one, str(folder / "export"))
        await sees(one, "is as it was written")
        await one.press("escape", "1", "X")
        await sees(one, "Stops every process")
        await one.press("enter")
        await sees(one, "cancelled, nothing has changed")
        assert processes.running(west, "agent") is not None
        await one.press("X", *"sahlgrenska", "enter")
        await until(one, lambda: processes.running(west, "agent") is None, "the agent's end")


async def test_a_dangerous_order_wants_its_word_and_a_viewer_gives_none(folder: Path) -> None:
    home = Home(folder / "h")
    async with watching(home).run_test(size=(80, 24)) as pilot:
        await pilot.press("n")
        await fill(pilot, "halland", "no", "", "8443")
        app = pilot.app
        assert isinstance(app, Dashboard)
        await until(pilot, lambda: app.progress.site == "halland", "the site")
        await pilot.press("X", *"hallnd", "enter")
        await sees(pilot, "That is not halland; nothing has happened")
        await pilot.press("escape", "n")
        await sees(pilot, "already the site halland")

    async with watching(home, readonly=True).run_test(size=(80, 24)) as pilot:
        before = drawn(pilot.app)  # type: ignore[arg-type]
        for key in ("X", "n", "u"):
            await pilot.press(key)
        assert len(pilot.app.screen_stack) == 1
        assert "down" not in before.splitlines()[-1]
