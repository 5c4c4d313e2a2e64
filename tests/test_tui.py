"""The dashboard by its keys, over real journals: what it knows, shows and leaves alone."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from textual.pilot import Pilot

from fedtui import certificates, events
from fedtui.errors import DataError
from fedtui.events import Event
from fedtui.journal import Journal
from fedtui.progress import fold
from fedtui.site import Home
from fedtui.tui import actions, chart, host, text, words
from fedtui.tui.dashboard import Dashboard
from fedtui.tui.screens.overview import Overview
from fedtui.tui.screens.rounds import Rounds
from fedtui.tui.sources import Live, Replay, read_log
from fedtui.tui.view import View, alarm
from fedtui.tui.widgets.lines import Lines
from tests import story


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never came:\n{shown(pilot)}")


def shown(pilot: Pilot[None]) -> str:
    app = pilot.app
    assert isinstance(app, Dashboard)
    return app._frame.text


def replayed(pairs: Iterable[tuple[float, Event]]) -> Dashboard:
    return Dashboard(Replay(story.records(pairs), speed=0))


def at(pairs: Iterable[tuple[float, Event]], seconds: float = 0.0) -> View:
    """The view ``seconds`` after the last of the events."""
    records = story.records(pairs)
    now = records[-1].time + seconds
    return View(progress=fold(records), records=records, now=now, live=False)


async def test_a_late_dashboard_shows_the_whole_history(tmp_path: Path) -> None:
    app = Dashboard(Live(story.write(tmp_path / "journal.db", story.told(7))))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Round 7/10" in shown(pilot))

        assert len(app.progress.run.history) == 7  # type: ignore[union-attr]
        assert "7 model updates" in shown(pilot)


async def test_what_is_appended_shows_by_itself(tmp_path: Path) -> None:
    path = story.write(tmp_path / "journal.db", story.told(1))
    app = Dashboard(Live(path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Round 1/10" in shown(pilot))
        book = Journal(path, source="coordinator")
        book.append_all([(event, 0) for _, event in story.round_(2, 0.0)])
        book.close()

        await until(pilot, lambda: "Round 2/10" in shown(pilot))


async def test_every_screen_says_who_is_awaited_and_how_long() -> None:
    app = replayed(
        [
            *story.told(),
            *story.silence(),
            (
                30.0,
                events.SiteCreated(
                    site="sahlgrenska", roles=("site", "coordinator"), key="0595:f723"
                ),
            ),
        ]
    )
    async with app.run_test(size=(80, 24)) as pilot:
        for key in "12345678":
            await pilot.press(key)
            await until(pilot, lambda: "waiting for halland, 10 s (silent)" in shown(pilot))


async def test_the_run_says_what_of_privacy_it_has_cost_here() -> None:
    spent = events.PrivacySpent(
        run=story.RUN, round=3, data="digits", question="q", epsilon=1.234, delta=1e-4
    )
    app = replayed([*story.told(), (17.5, spent)])
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "epsilon 1.23 spent here" in shown(pilot))
        assert "Round 3/10" in shown(pilot)


async def test_a_home_without_a_run_says_what_to_do_next() -> None:
    app = replayed(story.JOINED[:2])
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "next: federation" in shown(pilot))
        assert "invite a site: fedtui invite SITE" in shown(pilot)

        await pilot.press("5")
        await until(pilot, lambda: "is run with 'fedtui run STUDY'" in shown(pilot))


async def test_the_log_is_filtered_by_words_and_by_level() -> None:
    app = replayed([*story.told(), *story.silence()])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "following" in shown(pilot))

        await pilot.press("slash", *"halland", "enter")
        await until(pilot, lambda: "with 'halland'" in shown(pilot))
        lines = [line for line in shown(pilot).splitlines() if "INFO" in line or "WARN" in line]
        assert lines
        assert all("halland" in line or "asked" in line or "digits" in line for line in lines)

        await pilot.press("l", "l")
        await until(pilot, lambda: "1-1 of 1" in shown(pilot))
        assert "halland has gone silent" in shown(pilot)

        await pilot.press("slash", "escape")
        await until(pilot, lambda: "with" not in shown(pilot).split("\n")[1])


async def test_the_log_stays_where_it_is_until_it_follows_again() -> None:
    app = replayed(story.told(9))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "following" in shown(pilot))
        await pilot.press("home")
        await until(pilot, lambda: "sahlgrenska was created" in shown(pilot))

        await pilot.press("G")
        await until(pilot, lambda: "round 9 ended" in shown(pilot))


async def test_a_held_display_stands_still_and_then_catches_up(tmp_path: Path) -> None:
    path = story.write(tmp_path / "journal.db", story.told(1))
    app = Dashboard(Live(path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Round 1/10" in shown(pilot))
        await pilot.press("p")
        book = Journal(path, source="coordinator")
        book.append_all([(event, 0) for _, event in story.round_(2, 0.0)])
        book.close()
        await until(pilot, lambda: app.progress.run.round == 2)  # type: ignore[union-attr]

        assert "HELD" in shown(pilot)
        assert "Round 1/10" in shown(pilot)
        await pilot.press("p")
        await until(pilot, lambda: "Round 2/10" in shown(pilot))


async def test_a_journal_that_cannot_be_read_on_is_an_alarm_with_a_remedy(tmp_path: Path) -> None:
    path = story.write(tmp_path / "journal.db", story.told(1))
    app = Dashboard(Live(path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Round 1/10" in shown(pilot))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("INSERT INTO record VALUES (999, 0, 'Tomorrow', '{}', x'00')")

        await until(pilot, lambda: "FAIL" in shown(pilot))
        assert "Record 999 of the journal cannot be read" in shown(pilot)


async def test_the_palette_starts_an_action_by_its_name() -> None:
    app = replayed(story.told())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "5ROUNDS" in shown(pilot))
        await pilot.press("colon", *"logs", "enter")

        await until(pilot, lambda: "7LOG" in shown(pilot))


async def test_copying_leaves_a_file_only_its_owner_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = replayed(story.told())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "5ROUNDS" in shown(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "NOTE" in shown(pilot))

        (path,) = tmp_path.glob("fedtui-rounds-*.txt")
        assert "Round 3/10" in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600
        assert "Round 3/10" in app.clipboard
        await pilot.press("w")
        await until(pilot, lambda: any(tmp_path.glob("fedtui-rounds-*.svg")))


async def test_the_cursor_chooses_the_site_that_charts_zoom_to() -> None:
    app = replayed(story.told())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "halland 0.783" in shown(pilot))
        await pilot.press("j", "enter")

        await until(pilot, lambda: "halland 0.783" not in shown(pilot))
        assert ">sahlgrenska" in shown(pilot)
        await pilot.press("m")
        await until(pilot, lambda: "Loss  o joint" in shown(pilot))


@pytest.mark.parametrize("size", [(40, 10), (80, 12), (110, 24), (250, 80)])
async def test_any_size_is_filled_and_never_overrun(size: tuple[int, int]) -> None:
    app = replayed([*story.told(), *story.silence()])
    async with app.run_test(size=size) as pilot:
        for key in "12345678":
            await pilot.press(key)
            await pilot.pause()
            lines = shown(pilot).split("\n")

            assert max(map(len, lines)) <= size[0]
            assert len(lines) == size[1]


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (39, 24), (80, 9)])
async def test_too_small_a_terminal_gets_one_line(size: tuple[int, int]) -> None:
    app = replayed([*story.told(), *story.silence()])
    async with app.run_test(size=size) as pilot:
        await pilot.pause()

        line = "TRAIN WAIT: too small, run 'fedtui status'"
        assert app.screen.query_one("#body", Lines).text == text.cut(line, size[0], "~")


async def test_every_action_has_a_method_a_help_line_and_keys_of_its_own() -> None:
    for screen in actions.SCREENS:
        used = [key for action in actions.valid(screen) for key in action.keys]
        assert len(used) == len(set(used))
    for action in actions.ACTIONS:
        assert hasattr(Dashboard, f"action_{action.name}")
        assert not {"ctrl+a", "ctrl+b"} & set(action.keys)  # the prefixes of screen and tmux
        assert len(action.help) <= 2 * 67  # two lines of help at 80 columns


def test_a_site_that_works_longer_than_the_others_is_awaited_too() -> None:
    story_ = [*story.told(), *story.silence()[:3]]

    assert alarm(at(story_, 5.0))[0] == "OK"
    assert alarm(at(story_, 12.0)) == (
        "WAIT",
        "wait",
        "waiting for halland, 10 s (still working); the run goes on then",
    )


def test_alarms_that_later_news_took_back_are_not_shown() -> None:
    down = (40.0, events.LinkChanged(up=False, code="tcp-refused", cause="nothing listens"))
    up = (41.0, events.LinkChanged(up=True, code="", cause="attached"))

    assert alarm(at([*story.told(), down]))[0] == "FAIL"
    assert alarm(at([*story.told(), down, up]))[0] == "OK"
    assert alarm(at([*story.told(), (30.0, story.end("failed"))]))[0] == "FAIL"


def test_a_run_without_news_is_stale_and_a_finished_one_is_not() -> None:
    assert at(story.told(), 31.0).stale
    assert not at(story.told(), 29.0).stale
    assert not at([*story.told(), (20.0, story.end())], 3600.0).stale


def test_lines_of_a_chart_keep_their_shapes_without_colour() -> None:
    series = [
        chart.Series(name="joint", marker="o", role="", points=((1, 0.5), (2, 0.6), (3, 0.9))),
        chart.Series(name="halland", marker="x", role="", points=((1, 0.2), (2, 0.3), (3, 0.4))),
    ]

    lines = chart.draw(series, width=40, height=8, glyphs=text.ASCII, rounds=3)
    drawn = [text.plain(line) for line in lines]

    assert "".join(drawn).isascii()
    assert "".join(drawn).count("o") == "".join(drawn).count("x") == 3
    assert [len(line) for line in drawn] == [40] * 8
    first_o = next(row for row, line in enumerate(drawn) if "o" in line)
    assert drawn[first_o].rstrip().endswith("o")  # the highest value is the last round's


@pytest.mark.parametrize("rounds", [1, 2, 11, 10_000])
def test_a_chart_is_drawn_for_any_number_of_rounds(rounds: int) -> None:
    points = tuple((n, 0.5) for n in range(1, rounds + 1))
    one = chart.Series(name="joint", marker="o", role="", points=points)

    lines = chart.draw([one], width=60, height=9, glyphs=text.UNICODE, rounds=rounds)

    assert {text.length(line) for line in lines} == {60}
    assert "o" in "".join(map(text.plain, lines))


def test_fifty_sites_and_ten_thousand_rounds_are_drawn_within_100_ms() -> None:
    view = at([(float(n), event) for n, event in enumerate(story.large())])
    spent = []
    for page, charted in ((Rounds(), 0), (Rounds(), 1), (Rounds(), 3), (Overview(), 0)):
        tries = []
        for _ in range(5):  # the best, of the processor: others may hold it meanwhile, and slow it
            began = time.process_time()
            page.draw(replace(view, charted=charted, chosen=25, log=True), 250, 77)
            tries.append(time.process_time() - began)
        spent.append(min(tries))

    assert max(spent) < 0.1


def test_sizes_and_ages_read_as_an_operator_says_them() -> None:
    assert [words.age(s) for s in (1, 7, 59, 61, 7200, 300_000)] == [
        "now",
        "5 s",
        "55 s",
        "61 s",
        "2 h 0 min",
        "3 d",
    ]
    assert [words.size(b) for b in (0, 999, 35_880, 1.2e9)] == ["0 B", "999 B", "35.9 kB", "1.2 GB"]


def test_a_certificates_end_is_read_as_cryptography_reads_it(tmp_path: Path) -> None:
    certificates.create_authority(tmp_path, name="test")
    certificates.create_server(tmp_path, names=("localhost", "127.0.0.1"))

    for name in ("ca.pem", "server.pem"):
        pem = (tmp_path / name).read_bytes()
        ours = host.not_after(pem.decode())
        assert ours == x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def test_the_host_tells_disk_and_certificate(tmp_path: Path) -> None:
    place = Home(story.home(tmp_path / "home"))
    place.keys.mkdir()
    certificates.create_authority(place.keys, name="test")
    certificates.create_server(place.keys, names=("localhost",))

    seen = host.look(place, {"trainer": 1})

    assert (seen.certificate, seen.days) == ("server", certificates.SERVER_DAYS - 1)
    assert seen.disk_free > 0
    assert not seen.alive  # process 1 is nobody's trainer while no agent runs


def test_an_exported_log_folds_to_what_the_journal_folds_to(tmp_path: Path) -> None:
    journal = Journal(story.write(tmp_path / "journal.db", story.told()), source="viewer")
    records = journal.read()
    journal.close()
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(r.line) + "\n" for r in records))

    again = read_log(log)

    assert [r.event for r in again] == [r.event for r in records]
    assert fold(again).run.history == fold(records).run.history  # type: ignore[union-attr]
    assert read_log(tmp_path / "journal.db") == records


async def test_the_log_of_one_run_claims_nothing_that_it_does_not_tell() -> None:
    app = Dashboard(Replay(story.records(story.told()[len(story.JOINED) - 1 :]), speed=0, site="x"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "3 model updates" in shown(pilot))
        assert "device" not in shown(pilot)

        await pilot.press("1")
        await until(pilot, lambda: "an exported log of x" in shown(pilot))
        assert "fedtui" not in shown(pilot)  # no command is proposed to a log


def test_a_log_that_is_none_is_refused_by_its_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"seq": 1}\n')

    with pytest.raises(DataError, match="line 1"):
        read_log(log)


def test_the_viewer_imports_neither_flower_nor_jax_nor_a_model() -> None:
    program = """
import sys
import fedtui.tui.app
heavy = {"flwr", "jax", "flax", "optax", "polars", "numpy", "sklearn", "models", "datasets"}
print(*sorted((heavy | {"cryptography", "httpx", "typer", "fedtui.checks"}) & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (answer.stdout.strip(), answer.stderr) == ("", "")
