"""What screens say where there is little room, no home, or nothing yet: whole words, true ones."""

from dataclasses import replace

import pytest

from fedtui import events
from fedtui.events import Event
from fedtui.progress import fold
from fedtui.tui import chart, text, words
from fedtui.tui.checking import Checkup
from fedtui.tui.host import Host
from fedtui.tui.panels import rows, site, validated
from fedtui.tui.panels import run as of_run
from fedtui.tui.screens.agreements import Agreements
from fedtui.tui.screens.exports import Exports
from fedtui.tui.screens.overview import Overview
from fedtui.tui.screens.rounds import Rounds
from fedtui.tui.view import View
from tests import story

ENDED = events.RunEnded(
    run=story.RUN,
    outcome="completed",
    cause="all 10 rounds done",
    file="/srv/fed/model.safetensors",
)


def at(pairs: list[tuple[float, Event]], **more: object) -> View:
    records = story.records(pairs)
    given = {"progress": fold(records), "records": records, "now": records[-1].time, "live": False}
    return View(**{**given, **more})  # type: ignore[arg-type]


def plain(lines: list[text.Line]) -> str:
    return "\n".join(map(text.plain, lines))


def nowhere() -> View:
    """A host without a home, where orders are taken."""
    return View(progress=fold([]), checkup=Checkup(), host=Host(path="/home/ada/.fedtui"))


def test_a_small_window_leaves_the_chart_out_and_names_its_sites_in_full() -> None:
    view = at([*story.told(3), (30.0, ENDED)])

    drawn = plain(Rounds().draw(view, 60, 13))

    assert "No round ended" not in drawn
    assert "Accuracy" not in drawn
    assert "sahlgrenska" in drawn
    assert "halland" in drawn
    assert "ACCURACY" in drawn
    assert "STEP" not in drawn


def test_a_window_of_80_columns_keeps_every_column() -> None:
    drawn = plain(Rounds().draw(at(story.told(3)), 80, 20))

    assert all(head in drawn for head in ("STEP", "EX", "LOSS", "NEWS", "sahlgrenska"))


@pytest.mark.parametrize("height", [1, chart.LEAST - 1])
def test_a_chart_without_room_says_so(height: int) -> None:
    view = at([*story.told(3), (30.0, ENDED)])
    run = view.progress.run
    assert run is not None

    panel = of_run.charted(view, run, "accuracy", 60, height)

    assert "does not fit" in plain(list(panel.lines))


def test_a_run_that_ended_before_its_first_round_still_says_so() -> None:
    view = at([*story.JOINED, (30.0, ENDED)])
    run = view.progress.run
    assert run is not None

    panel = of_run.charted(view, run, "accuracy", 60, 8)

    assert "No round ended in this run." in plain(list(panel.lines))


def test_without_a_home_the_agreement_screen_says_what_comes_first() -> None:
    drawn = plain(Agreements().draw(nowhere(), 80, 20))

    assert "Being read" not in drawn
    assert "fedtui join CODE" in drawn
    assert "fedtui init NAME" in drawn


@pytest.mark.parametrize("width", [80, 160])
def test_without_a_home_the_overview_names_both_ways_to_one(width: int) -> None:
    drawn = plain(Overview().draw(nowhere(), width, 20))

    assert "fedtui join CODE" in drawn
    assert "fedtui init NAME --coordinator" in drawn
    assert "next: site" in drawn


def test_what_left_is_said_to_be_of_this_run() -> None:
    before, after = at(list(story.JOINED)), at(story.told(2))
    first, second = before.progress.run, after.progress.run

    assert plain(of_run.given(before, first, 76)) == "left in this run  nothing yet"
    assert plain(of_run.given(after, second, 76)).startswith("left in this run  72.4 kB: 2 model")
    assert "run sent 72.4 kB" in plain([rows.header(after, 80)])
    none = at(list(story.JOINED[:-1]))
    assert "no run has begun" in plain(of_run.given(none, none.progress.run, 76))


def test_metrics_are_titled_as_people_write_them() -> None:
    assert [words.title(name) for name in ("auroc", "auprc", "balanced_accuracy")] == [
        "AUROC", "AUPRC", "Balanced accuracy",
    ]  # fmt: skip
    assert validated.named("auprc") == "AUPRC with 95 % intervals"
    pairs = [
        (t, replace(e, metric="auroc") if isinstance(e, events.RunSubmitted) else e)
        for t, e in story.told(2)
    ]
    view = at(pairs)
    run = view.progress.run
    assert run is not None
    assert of_run.charted(view, run, "auroc", 80, 8).title == "AUROC"


@pytest.mark.parametrize(
    ("certificate", "whose"),
    [("server", "server certificate"), ("authority", "federation's certificate")],
)
def test_the_days_that_a_certificate_has_left_name_whose_it_is(
    certificate: str, whose: str
) -> None:
    host = Host(path="/h", disk_free=10**11, certificate=certificate, days=61)

    drawn = plain(list(site.here(at(list(story.JOINED), host=host), 120).lines))

    assert f"{whose} 61 days" in drawn


def test_something_is_to_be_done_where_an_alarm_stands() -> None:
    alarmed = [*story.told(2), (20.0, ENDED), (21.0, events.SiteSeen(site="halland", here=False))]

    quiet, loud = site.way(at(alarmed[:-1])), site.way(at(alarmed))

    assert quiet.right == "nothing to do"
    assert loud.right == "an alarm stands"


def test_a_site_is_not_shown_the_coordinators_path() -> None:
    pairs = [*story.told(2), (20.0, ENDED)]
    alone = [
        (t, replace(e, roles=("site",)) if isinstance(e, events.SiteCreated) else e)
        for t, e in pairs
    ]

    there, here = plain(Exports().draw(at(pairs), 80, 20)), plain(Exports().draw(at(alone), 80, 20))

    assert "joint model /srv/fed/model.safetensors" in there
    assert "joint model kept at the coordinator" in here
    assert "/srv/fed" not in here
