"""What is on screen is a fold: in one go or in pieces, early or late, always the same."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fedtui import events, journal, progress
from fedtui.events import Event
from fedtui.journal import Journal
from fedtui.progress import Progress
from fedtui.record import Record
from tests.test_events import KINDS, any_of

NAMES = st.sampled_from(["a", "b", "run-1", "run-2"])


def recorded(happened: list[Event]) -> list[Record]:
    return [
        Record(seq=n, time=float(n), source="test", origin=0, event=event, hash=bytes(32))
        for n, event in enumerate(happened, start=1)
    ]


# Names from a short list, so that events meet each other's runs and sites.
STORIES = st.lists(
    st.sampled_from(KINDS).flatmap(lambda name: any_of(events.KINDS[name], NAMES)), max_size=40
).map(recorded)


@given(STORIES, st.integers(0, 40))
def test_a_fold_in_pieces_is_the_fold_in_one_go(story: list[Record], cut: int) -> None:
    whole = progress.fold(story)

    pieces = progress.fold(story[cut:], progress.fold(story[:cut]))

    assert pieces == whole


@given(STORIES)
def test_a_fold_changes_nothing_that_it_was_given(story: list[Record]) -> None:
    states = [Progress()]
    for record in story:
        states.append(progress.advance(states[-1], record))
    shown = [repr(state) for state in states]

    progress.fold(story, states[0])

    assert [repr(state) for state in states] == shown
    assert progress.fold(story) == states[-1]


def report(site: str, step: int, round: int = 1, run: str = "r") -> Event:
    return events.TrainingProgressed(
        run=run, round=round, site=site, step=step, steps=9, loss=float(step), examples=step
    )


def answer(site: str, metrics: dict[str, float]) -> Event:
    return events.AnswerReceived(
        run="r", round=1, phase="train", site=site, examples=9, metrics=metrics, seconds={}
    )  # fmt: skip


SITES, ROUNDS = st.sampled_from(["a", "b"]), st.integers(1, 2)
REPORTS = st.lists(
    st.one_of(
        st.builds(report, SITES, st.integers(0, 9), ROUNDS, st.sampled_from(["r", "r", "other"])),
        st.deferred(lambda: st.builds(asked, st.just("r"), ROUNDS)),
        st.builds(answer, SITES, st.sampled_from([{}, {"loss": 0.5}])),
        st.deferred(lambda: st.just(submitted())),
    ),
    max_size=60,
)


@given(REPORTS)
def test_the_outline_of_a_journal_folds_to_the_same(happened: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        journal.create(path)
        book = Journal(path, source="test")
        try:
            book.append_all([(event, 0) for event in happened])
            whole = list(book.pages())
            outline = [record for batch in book.outline() for record in batch]
        finally:
            book.close()

    assert progress.fold(outline) == progress.fold(whole)
    assert [r for r in whole if not isinstance(r.event, events.TrainingProgressed)] == [
        r for r in outline if not isinstance(r.event, events.TrainingProgressed)
    ]


def test_an_outline_tells_each_sites_last_report_of_a_round() -> None:
    told = [submitted(), asked(), *(report(site, n) for n in range(5) for site in ("a", "b"))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        journal.create(path)
        book = Journal(path, source="test")
        book.append_all([(event, 0) for event in told])
        outline = [record.seq for batch in book.outline() for record in batch]
        book.close()

    assert outline == [1, 2, 11, 12]


def submitted(run: str = "r", sites: tuple[str, ...] = ("a", "b")) -> Event:
    return events.RunSubmitted(
        run=run, study="s", fingerprint="f", sites=sites, train_sites=sites, rounds=3,
        metric="accuracy",
    )  # fmt: skip


def asked(run: str = "r", round: int = 1) -> Event:
    return events.PhaseStarted(run=run, round=round, phase="train", sites=("a", "b"))


def test_news_of_an_unknown_run_makes_no_run() -> None:
    state = progress.fold(recorded([asked("unknown"), submitted("r"), asked("unknown", 2)]))

    assert list(state.runs) == ["r"]
    assert state.runs["r"].round == 0


def test_a_site_that_was_asked_is_awaited_until_it_answers() -> None:
    answer = events.AnswerReceived(
        run="r", round=1, phase="train", site="a", examples=9, metrics={}, seconds={"total": 2.0}
    )

    before = progress.fold(recorded([submitted(), asked()])).run
    after = progress.fold(recorded([submitted(), asked(), answer])).run

    assert before is not None
    assert after is not None
    assert before.awaited == ("a", "b")
    assert after.awaited == ("b",)
    assert after.sites["a"].seconds == {"total": 2.0}


def test_a_silent_site_is_shown_as_silent_and_comes_back() -> None:
    gone = events.SiteSeen(site="b", here=False)
    back = events.SiteSeen(site="b", here=True)

    lost = progress.fold(recorded([submitted(), asked(), gone])).run
    found = progress.fold(recorded([submitted(), asked(), gone, back])).run

    assert lost is not None
    assert found is not None
    assert progress.shown_state(lost.sites["b"]) == "SILENT"
    assert progress.shown_state(found.sites["b"]) == "TRAINING"


def test_a_late_report_does_not_bring_a_past_round_back() -> None:
    late = events.TrainingProgressed(
        run="r", round=1, site="a", step=5, steps=9, loss=0.1, examples=50
    )

    run = progress.fold(recorded([submitted(), asked(), asked(round=2), late])).run

    assert run is not None
    assert (run.sites["a"].round, run.sites["a"].step) == (2, 0)


def test_a_run_that_ended_awaits_nobody() -> None:
    ended = events.RunEnded(run="r", outcome="failed", cause="c")

    run = progress.fold(recorded([submitted(), asked(), ended])).run

    assert run is not None
    assert run.over
    assert (run.state, run.awaited) == ("FAILED", ())


def test_alarms_are_the_last_warnings() -> None:
    story = recorded([events.SiteSeen(site="a", here=n % 2 == 0) for n in range(100)])

    alarms = progress.fold(story).alarms

    assert 0 < len(alarms) <= 20
    assert alarms[-1] == story[-1]
    assert {record.event.level for record in alarms} == {"WARN"}
