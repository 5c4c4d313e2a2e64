"""Make the README's picture: ``python -m tests.picture EXPORT_FOLDER .readme/rounds.svg``.

The folder is what ``fedtui export`` wrote of a real run; the dashboard replays it to its end.
"""

import asyncio
import sys
from pathlib import Path

from fedtui.tui.dashboard import Dashboard
from fedtui.tui.files import offline
from fedtui.tui.sources import Replay, read_log, site_of


async def draw(log: Path, picture: Path) -> None:
    """Replay ``log`` at 100x30 on the Rounds screen and keep the screen as SVG."""
    app = Dashboard(Replay(read_log(log), speed=0, site=site_of(log)))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("5")
        await pilot.pause(2.0)
        picture.write_text(offline(app.export_screenshot(title="fedtui")), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1]) / "journal.jsonl", Path(sys.argv[2])))
