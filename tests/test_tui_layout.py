"""What each screen looks like, as text: read the files in ``__snapshots__`` as an operator would.

FEDTUI_SNAPSHOTS=write makes them anew; look at the difference before it is committed.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtui.tui.dashboard import Dashboard
from fedtui.tui.sources import Replay
from tests import story

FOLDER = Path(__file__).parent / "__snapshots__"
WAITING = sorted([*story.told(6), *story.silence(6), *story.checked()], key=lambda pair: pair[0])


@pytest.fixture(autouse=True)
def _universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "size", "keys", "ascii"),
    [
        ("rounds", (80, 24), "5", False),
        ("rounds-ascii", (80, 24), "5", True),
        ("overview", (80, 24), "1", False),
        ("logs", (80, 24), "7", False),
        ("help", (80, 24), "5?", False),
        ("connect-log", (80, 24), "2", False),
        ("rounds", (120, 36), "5m", False),
        ("overview", (120, 36), "1", False),
        ("rounds", (160, 50), "5b", False),
        ("rounds-ascii", (160, 50), "5", True),
    ],
)
async def test_the_screen_looks_as_it_did(
    name: str, size: tuple[int, int], keys: str, ascii: bool
) -> None:
    app = Dashboard(Replay(story.records(WAITING), speed=0), ascii=ascii)
    async with app.run_test(size=size) as pilot:
        for key in keys:
            await pilot.press("question_mark" if key == "?" else key)
        await pilot.pause()
        text = drawn(app)

    compare(text, name, size)


@pytest.mark.parametrize(
    ("name", "size", "ascii"),
    [
        ("connect", (80, 24), False),
        ("connect-ascii", (80, 24), True),
        ("connect", (120, 36), False),
        ("connect", (160, 50), False),
    ],
)
async def test_the_findings_look_as_they_did(name: str, size: tuple[int, int], ascii: bool) -> None:
    app = Dashboard(Replay(story.records(WAITING), speed=0), ascii=ascii)
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        app.redraw(checkup=story.checkup())
        await pilot.pause()
        text = drawn(app)

    assert text.isascii() or not ascii
    compare(text, name, size)


def drawn(app: Dashboard) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in strips) + "\n"


def compare(text: str, name: str, size: tuple[int, int]) -> None:
    file = FOLDER / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("FEDTUI_SNAPSHOTS") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
