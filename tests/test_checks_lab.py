"""Every fault of the lab is named rightly, and a healthy link is never blamed."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from fedtui.checks import Finding, State
from tests.lab import Case, Fault, Lab, faults
from tests.lab_servers import connect_proxy, listening, relay

_SLOW = ("a firewall forgets silent connections after 3 s", "answers come unevenly")
_WORST = 15.0  # seconds without --deep
_UNWELL = (State.WARN, State.FAIL, State.UNKNOWN)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def _marked(fault: Fault) -> object:
    marks = [pytest.mark.slow] if fault.name in _SLOW else []
    return pytest.param(fault, id=fault.name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize("fault", [_marked(fault) for fault in faults()])
def test_a_fault_is_named(lab: Lab, fault: Fault) -> None:
    if fault.missing:
        pytest.skip(f"needs {', '.join(fault.missing)}")

    verdict = lab.judge(fault)

    assert verdict.right, f"{fault.name} was called {verdict.said}"
    deep = fault.provoke.__module__ == "tests.lab_deep"
    assert deep or verdict.seconds < _WORST


def test_the_lab_holds_enough_faults_with_words_of_their_own() -> None:
    every = faults()

    assert len(every) >= 35
    assert len({fault.name for fault in every}) == len(every)
    assert len({code for fault in every for code in fault.codes}) >= 35


# Healthy links.


@contextmanager
def _direct(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.target("127.0.0.1"), home=lab.site)


@contextmanager
def _proxied(lab: Lab) -> Iterator[Case]:
    with listening(connect_proxy()) as port:
        named = {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}
        yield Case(target=lab.target("127.0.0.2"), home=lab.site, environment=named)


@contextmanager
def _login(lab: Lab) -> Iterator[Case]:
    with listening(connect_proxy(login="bWU6c2VjcmV0")) as port:  # me:secret
        named = {"ALL_PROXY": f"http://me:secret@127.0.0.1:{port}"}
        yield Case(target=lab.target("127.0.0.2"), home=lab.site, environment=named)


@contextmanager
def _distant(lab: Lab) -> Iterator[Case]:
    with listening(relay(lab.port, seconds=0.15)) as port:
        yield Case(target=lab.target("127.0.0.1", port), home=lab.site)


@contextmanager
def _six(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.target("::1"), home=lab.site)


@contextmanager
def _lossy(lab: Lab) -> Iterator[Case]:
    port = lab.namespace.port
    rule = f"tcp dport {port} numgen random mod 100 0 drop"
    back = f"tcp sport {port} numgen random mod 100 0 drop"
    with lab.namespace.filtering(rule, back):
        yield Case(target=lab.within(), home=lab.site, inside=True)


@contextmanager
def _lazy(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("lazy.test"), home=lab.site, inside=True)


_PROFILES: list[tuple[str, Callable[[Lab], AbstractContextManager[Case]], bool, int]] = [
    ("direct", _direct, False, 4),
    ("proxy", _proxied, False, 3),
    ("proxy-with-login", _login, False, 1),
    ("300-ms", _distant, False, 3),
    ("IPv6", _six, False, 3),
    ("1-percent-loss", _lossy, True, 3),
    ("slow-DNS", _lazy, True, 3),
]


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("profile", "needs_root", "runs"),
    [pytest.param(profile, root, runs, id=name) for name, profile, root, runs in _PROFILES],
)
def test_a_healthy_link_is_never_blamed(
    lab: Lab,
    profile: Callable[[Lab], AbstractContextManager[Case]],
    needs_root: bool,
    runs: int,
    times: int,
) -> None:
    if needs_root and (
        missing := Fault(name="", codes=(), provoke=profile, needs=("root",)).missing
    ):
        pytest.skip(f"needs {', '.join(missing)}")

    with profile(lab) as case:
        for _ in range(runs * times):
            findings = lab.look(case)
            alarms = [f for f in findings if f.state in _UNWELL and f.code not in lab.noise]
            assert alarms == []
            assert _state(findings, "identity") is State.OK
            assert _state(findings, "body") is State.OK


def test_a_healthy_look_takes_less_than_two_seconds(lab: Lab) -> None:
    def took(case: Case) -> float:
        began = time.monotonic()
        lab.look(case)
        return time.monotonic() - began

    for profile in (_direct, _distant):
        with profile(lab) as case:
            assert min(took(case) for _ in range(5)) < 2.0  # the best: the host has other work


def _state(findings: list[Finding], check: str) -> State:
    return next(f.state for f in findings if f.check == check)
