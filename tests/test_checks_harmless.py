"""Looking changes nothing: a run under way is the same with checks as without."""

import threading
from collections import Counter

import pytest

from fedtui import checks, events, operations
from fedtui.checks import State
from tests import federation as fed
from tests.conftest import STRANGE
from tests.federation import SITE, Federation, records

_AT_ONCE = 2
_NEWS = (
    events.RequestRefused, events.SiteSeen, events.AnswerRefused, events.SitesAwaited,
    events.PhaseStarted, events.AnswerReceived, events.RoundEnded, events.ProcessStarted,
)  # fmt: skip


@pytest.mark.parametrize(
    ("checked", "rounds"), [(20, 14), pytest.param(100, 48, marks=pytest.mark.slow)]
)
def test_checks_in_mid_round_change_nothing(trio: Federation, checked: int, rounds: int) -> None:
    agreed = fed.study(rounds=rounds)
    quiet_after = fed.head(trio.coordinator)
    quiet = trio.run(agreed)
    looked_after = fed.head(trio.coordinator)
    run = trio.start(agreed)
    first = lambda e: isinstance(e, events.PhaseStarted) and e.run == run and e.round == 1  # noqa: E731
    fed.until(trio.coordinator, first, after=looked_after)
    done: list[list[checks.Finding]] = []

    def look() -> None:
        while len(done) < checked:
            done.append(checks.run(home=trio.homes[SITE]))

    threads = [threading.Thread(target=look) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = operations.status(trio.coordinator)["run"]["state"]
    looked = trio.ended(run)

    assert state == "RUNNING", "the run was over before the checks were: give it more rounds"
    assert looked.outcome == quiet.outcome == "completed"
    assert fed.weights(looked) == fed.weights(quiet)
    assert _kinds(trio, looked_after) == _kinds(trio, quiet_after, until=looked_after)
    assert {f.check: f.state for f in done[-1]}["identity"] is State.OK
    assert all(f.code != "agent-link-down" for findings in done for f in findings)


def test_a_running_site_is_asked_for_link_device_and_leftovers(trio: Federation) -> None:
    findings = {f.check: f for f in checks.run(home=trio.homes[SITE])}

    assert findings["agent"].code == "agent-ok"
    assert findings["device"].code in ("device-ok", "device-cpu")
    assert findings["leftovers"].code == "leftovers-none"
    assert findings["identity"].code == "key-ok"
    assert checks.exit_code(list(findings.values())) == 0


def test_the_cheap_look_is_the_link_alone(trio: Federation) -> None:
    findings = checks.cheap(home=trio.homes[SITE])

    assert {f.check for f in findings} >= {"dns", "tcp", "tls", "hello", "clock", "identity"}
    assert {f.state for f in findings} == {State.OK}


def _kinds(trio: Federation, after: int, until: int | None = None) -> Counter[str]:
    """What was told, but of the site that a test before this one played: it falls silent later."""
    found = records(trio.coordinator, *_NEWS, after=after)
    told = [e for r, e in found if until is None or r.seq <= until]
    return Counter(type(e).__name__ for e in told if getattr(e, "site", SITE) != STRANGE)
