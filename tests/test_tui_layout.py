"""What each screen looks like, as text: read the files in ``__snapshots__`` as an operator would.

FEDTUI_SNAPSHOTS=write makes them anew; look at the difference before it is committed.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from fedtui.tui import actions
from fedtui.tui.dashboard import Dashboard
from fedtui.tui.sources import Replay
from tests import story

FOLDER = Path(__file__).parent / "__snapshots__"
WAITING = sorted([*story.told(6), *story.silence(6), *story.checked()], key=lambda pair: pair[0])
SIZES = ((80, 24), (160, 50))
SCREENS = dict(zip("12345678", actions.SCREENS, strict=True))


@pytest.fixture(autouse=True)
def _universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def dashboard(*, ascii: bool = False) -> Dashboard:
    return Dashboard(Replay(story.records(WAITING), speed=0), ascii=ascii)


async def press(pilot: Pilot[None], keys: str) -> str:
    names = {"?": "question_mark", "/": "slash", ":": "colon", ">": "pagedown", "!": "enter"}
    for key in keys:
        await pilot.press(names.get(key, key))
    await pilot.pause()
    assert isinstance(pilot.app, Dashboard)
    return drawn(pilot.app)


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_every_screen_of_an_operator_looks_as_it_did(
    size: tuple[int, int], ascii: bool
) -> None:
    """One dashboard with a home's findings, roster, studies and validation on its desk."""
    app = dashboard(ascii=ascii)
    found = {}
    async with app.run_test(size=size) as pilot:
        app.redraw(checkup=story.checkup(), desk=story.desk())
        for key, name in SCREENS.items():
            found[name] = await press(pilot, key)

    for name, text in found.items():
        assert text.isascii() or not ascii, name
        compare(text, f"{name}-ascii" if ascii else name, size)


@pytest.mark.parametrize(
    ("name", "size", "keys"),
    [
        ("rounds", (120, 36), "5m"),
        ("overview", (120, 36), "1"),
        ("rounds-braille", (160, 50), "5b"),
        ("rounds-log-scale", (80, 24), "5mlj!"),
        ("rounds-durations", (80, 24), "5mmm"),
        ("calibration", (80, 24), "6m"),
        ("outcomes", (80, 24), "6mmmm"),
        ("agreement-read", (80, 24), "4>>>"),
        ("join-pending", (80, 24), "3jj"),
        ("help", (80, 24), "3?"),
        ("help-end", (80, 24), "3?>>"),
        ("palette", (80, 24), "5:pau"),
        ("form", (80, 24), "4>>>S"),
        ("form", (40, 24), "4>>>S"),
        ("confirm", (80, 24), "3jX"),
        ("confirm", (40, 12), "3jX"),
    ],
)
async def test_charts_and_what_opens_over_a_screen_look_as_they_did(
    name: str, size: tuple[int, int], keys: str
) -> None:
    app = dashboard()
    async with app.run_test(size=size) as pilot:
        app.redraw(checkup=story.checkup(), desk=story.desk())
        app._home = story.NOWHERE
        text = await press(pilot, keys)

    compare(text, name, size)


@pytest.mark.parametrize(("name", "keys"), [("connect-log", "2"), ("join-log", "3")])
async def test_a_log_without_a_home_looks_as_it_did(name: str, keys: str) -> None:
    async with dashboard().run_test(size=(80, 24)) as pilot:
        text = await press(pilot, keys)

    compare(text, name, (80, 24))


def drawn(app: Dashboard) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in strips) + "\n"


def compare(text: str, name: str, size: tuple[int, int]) -> None:
    file = FOLDER / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("FEDTUI_SNAPSHOTS") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
