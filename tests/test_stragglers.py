"""A slow site holds the others up no longer than the study says, and comes back."""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtui import events, orders
from fedtui.agreement import clauses
from fedtui.flower.strategy import next_shares
from fedtui.site import Home
from fedtui.study import Quorum
from models._rounds import Trained
from tests import federation as fed
from tests.conftest import STRANGE
from tests.federation import COORDINATOR, SITE, Federation, records, until
from tests.test_models_rounds import site as engine_of

DEADLINE_SECONDS = 10.0  # far above what a round takes on a busy host
WORK = {"learning_rate": 0.1, "batch": 8, "epochs": 4}


def trainer_of(home: Home) -> int:
    return int(orders.order(home, "agent", "status")["trainer"])


@contextlib.contextmanager
def standing(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def slow(pid: int) -> Iterator[None]:
    """The process works for a fifth of the time."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            with standing(pid):
                time.sleep(0.08)
            time.sleep(0.02)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def train_of(made: Federation, run: str, site: str) -> dict[int, events.AnswerReceived]:
    """A site's taken answers to training, by round."""
    found = records(made.coordinator, events.AnswerReceived, run=run)
    return {e.round: e for _, e in found if (e.site, e.phase) == (site, "train")}


def test_a_site_that_is_late_is_left_out_by_name_and_takes_part_in_the_next_round(
    trio: Federation,
) -> None:
    quorum = Quorum(minimum_sites=1, deadline_seconds=DEADLINE_SECONDS, on_deadline="continue")
    run = trio.start(fed.study(rounds=20, quorum=quorum))
    until(trio.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.run == run)
    with standing(trainer_of(trio.homes[SITE])):  # not before: one that was idle has ended
        late = until(
            trio.coordinator,
            lambda e: isinstance(e, events.AnswerRefused) and e.run == run,
        ).event
    ended = trio.ended(run)

    assert ended.outcome == "completed", ended.cause
    assert isinstance(late, events.AnswerRefused)
    assert (late.site, late.code) == (SITE, "late")
    assert "next round" in late.sentence
    assert len(train_of(trio, run, COORDINATOR)) == 20
    assert max(train_of(trio, run, SITE)) > late.round
    # Both screens: the site that was left out reads it in its own journal.
    until(trio.homes[SITE], lambda e: isinstance(e, events.AnswerRefused) and e.run == run)


def test_fewer_than_the_fraction_that_a_study_wants_end_it_at_the_deadline(
    trio: Federation,
) -> None:
    quorum = Quorum(
        minimum_sites=1, minimum_fraction=0.6, deadline_seconds=3.0, on_deadline="continue"
    )

    ended = trio.run(fed.study(sites=(SITE, STRANGE), rounds=1, quorum=quorum))

    assert ended.outcome == "failed"
    assert STRANGE in ended.cause


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=2), st.floats(0.01, 1000.0), min_size=1, max_size=9
    )
)
def test_shares_bring_every_site_to_the_median_or_as_near_as_a_quarter_does(
    speeds: dict[str, float],
) -> None:
    shares: dict[str, float] = {}
    for _ in range(3):  # whatever was asked last, the same whole time comes out
        trained = {site: seconds * shares.get(site, 1.0) for site, seconds in speeds.items()}
        shares = next_shares(trained, shares)

    typical = float(np.median(list(speeds.values())))
    for site, seconds in speeds.items():
        share = shares.get(site, 1.0)
        assert 0.25 <= share <= 1
        wanted = min(seconds, max(typical, seconds / 4))
        assert math.isclose(seconds * share, wanted, rel_tol=1e-6)


@pytest.mark.slow
def test_a_slow_site_does_fewer_steps_and_weighs_less_where_the_study_says_so(
    trio: Federation,
) -> None:
    # So much work that no other load on the machine slows the other site as much as this one.
    terms = fed.study(rounds=5, training={**WORK, "epochs": 40}, quorum=Quorum(adaptive=True))
    trio.run(replace(terms, rounds=1))  # compiled before anything is timed

    with slow(trainer_of(trio.homes[SITE])):
        ended = trio.run(terms)

    assert ended.outcome == "completed", ended.cause
    taken = train_of(trio, ended.run, SITE)
    assert taken[1].examples > max(taken[n].examples for n in (3, 4, 5))
    assert min(answer.examples for answer in taken.values()) >= taken[1].examples / 4 - 1
    rounds = {
        e.round: e.examples for _, e in records(trio.coordinator, events.RoundEnded, run=ended.run)
    }
    others = train_of(trio, ended.run, COORDINATOR)
    assert rounds == {n: taken[n].examples + others[n].examples for n in rounds}


def test_a_share_of_the_steps_is_the_first_of_them_and_the_whole_is_as_without() -> None:
    engine = engine_of(epochs=3)  # 21 steps over 50 examples
    start = engine.initial()

    def trained(**share: float) -> Trained:
        return engine.train(start, round=1, stream=2, **share)  # type: ignore[arg-type]

    whole, half = trained(), trained(share=0.5)

    assert np.array_equal(trained(share=1.0).vector, whole.vector)
    assert (whole.steps, whole.examples) == (21, 50)
    assert (half.steps, half.examples) == (11, 26)
    assert not np.array_equal(half.vector, whole.vector)


def test_a_study_that_adapts_says_so_and_one_with_privacy_may_not() -> None:
    words = " ".join(clause.words for clause in clauses(fed.study(quorum=Quorum(adaptive=True))))
    assert "fewer steps" in words
    with pytest.raises(ValueError, match="account"):
        fed.study(quorum=Quorum(adaptive=True), privacy={"noise": 1.0, "clip": 1.0})
    with pytest.raises(ValueError, match="account"):
        fed.study(training={"share": 0.5}, privacy={"noise": 1.0, "clip": 1.0})
