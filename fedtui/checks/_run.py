"""Running the checks: independent ones side by side, dependants after what they need."""

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterator

from fedtui.checks import Check, Finding, State, load, names
from fedtui.checks._inquiry import IDLE_SECONDS, Inquiry
from fedtui.checks._target import Target, from_home
from fedtui.checks._told import model_bytes as bytes_of_model
from fedtui.errors import OperatorError
from fedtui.site import Home

LONGEST = 14.0  # seconds; a run without ``deep`` promises an answer within 15
_DEEP_LONGEST = 60.0  # seconds on top of the idle time
_CHEAP = ("dns", "route", "proxy", "tcp", "tls", "hello", "version", "clock", "identity")


class _Course:
    """One run of the chosen checks, each in a thread that waits for what it builds on."""

    def __init__(self, inquiry: Inquiry, chosen: dict[str, Check]) -> None:
        self._inquiry, self._chosen = inquiry, chosen
        self._done = {name: threading.Event() for name in chosen}
        self._findings: dict[str, list[Finding]] = {name: [] for name in chosen}

    def run(self, seconds: float) -> dict[str, list[Finding]]:
        until = time.monotonic() + seconds
        for name in self._chosen:
            # Daemons: a name server that never answers must not keep the command alive.
            threading.Thread(target=self._look, args=(name,), daemon=True).start()
        for event in self._done.values():
            event.wait(max(0.0, until - time.monotonic()))
        return {
            name: list(found) if self._done[name].is_set() else [_late(name, seconds), *found]
            for name, found in self._findings.items()
        }

    def _look(self, name: str) -> None:
        check, began = self._chosen[name], time.monotonic()
        found = self._findings[name]
        try:
            for before in (*check.NEEDS, *check.AFTER):
                if before in self._done:
                    self._done[before].wait()
            began = time.monotonic()
            if (missing := self._missing(check)) is not None:
                found.append(_skipped(name, missing))
                return
            for finding in check.check(self._inquiry):
                seconds = round(time.monotonic() - began, 4)
                found.append(dataclasses.replace(finding, check=name, seconds=seconds))
        except Exception as error:  # one check's mistake must not hide what the others found
            found.append(_broken(name, error))
        finally:
            self._done[name].set()

    def _missing(self, check: Check) -> str | None:
        for needed in check.NEEDS:
            found = self._findings.get(needed, [])
            if any(f.blocks or f.code == "needs" for f in found):
                return needed
        return None


def run(
    target: Target | None = None,
    *,
    home: Home | None = None,
    deep: bool = False,
    idle_seconds: float = IDLE_SECONDS,
    model_bytes: int | None = None,
    only: Collection[str] | None = None,
) -> list[Finding]:
    """Every check that applies, from inside to outside.

    Args:
        target: The coordinator; None looks for the one that ``home`` joined, and without one
            the network checks are skipped, saying so.
        home: The site's home, for local checks and for the signed echo.
        deep: Also measure idle limits, packet size, loss, jitter and bandwidth: about a minute,
            and some megabytes each way.
        model_bytes: Size of the study's model; None takes what the journal tells of the last one.
        only: Names of the checks to run, with what they build on.

    Harmless to a run under way: handshakes, GET /fedtui/hello and signed echoes, nothing else.
    """
    if target is None and home is not None:
        try:
            target = from_home(home)
        except OperatorError:  # the check 'config' names it
            target = None
    chosen = _ordered(only)
    skipped = {name: f for name, c in chosen.items() if (f := _not_now(name, c, target, deep))}
    inquiry = Inquiry(
        target=target,
        home=home,
        deep=deep,
        idle_seconds=idle_seconds,
        model_bytes=bytes_of_model(home) if model_bytes is None else model_bytes,
    )
    course = _Course(inquiry, {name: c for name, c in chosen.items() if name not in skipped})
    found = course.run(_DEEP_LONGEST + idle_seconds if deep else LONGEST)
    if inquiry.session is not None:
        inquiry.session.close()
    return [f for name in chosen for f in ([skipped[name]] if name in skipped else found[name])]


def cheap(target: Target | None = None, *, home: Home | None = None) -> list[Finding]:
    """The link only, in about a second: what an agent may repeat during training."""
    return run(target, home=home, only=_CHEAP)


def watch(
    target: Target | None = None,
    *,
    home: Home | None = None,
    seconds: float,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Finding]]:
    """All findings first; then, every ``seconds``, those that came to something else."""
    before: dict[str, tuple[str, ...]] = {}
    while not stop():
        began = time.monotonic()
        findings = run(target, home=home)
        now = {name: tuple(f.code for f in findings if f.check == name) for name in names()}
        changed = [f for f in findings if now[f.check] != before.get(f.check)]
        if changed:
            yield changed
        before = now
        while not stop() and time.monotonic() < began + seconds:
            time.sleep(min(0.1, seconds))


def _ordered(only: Collection[str] | None) -> dict[str, Check]:
    """The checks, local ones first, each after what it builds on; deep ones last."""
    every = {name: load(name) for name in names()}
    wanted = set(every if only is None else only)
    while more := {n for name in wanted for n in _before(every[name])} - wanted:
        wanted |= more

    def depth(name: str) -> int:
        return 1 + max((depth(n) for n in _before(every[name])), default=0)

    def place(name: str) -> tuple[bool, bool, int, str]:
        check = every[name]
        return check.DEEP, check.NETWORK, depth(name), name

    return {name: every[name] for name in sorted(wanted, key=place)}


def _before(check: Check) -> tuple[str, ...]:
    return (*check.NEEDS, *check.AFTER)


def _not_now(name: str, check: Check, target: Target | None, deep: bool) -> Finding | None:
    if check.NETWORK and target is None:
        meaning = "Not measured: no coordinator to look for."
        remedy = "Give HOST:PORT or an invitation, or join a federation first."
    elif check.DEEP and not deep:
        meaning = "Not measured: it takes about a minute."
        remedy = "Add --deep."
    else:
        return None
    code = "no-target" if check.NETWORK and target is None else "not-deep"
    return Finding(check=name, state=State.SKIP, code=code, meaning=meaning, remedy=remedy)


def _skipped(name: str, needed: str) -> Finding:
    return Finding(
        check=name,
        state=State.SKIP,
        code="needs",
        meaning=f"Not measured: needs {needed}.",
        remedy=f"Mend {needed} first.",
    )


def _late(name: str, seconds: float) -> Finding:
    return Finding(
        check=name,
        state=State.UNKNOWN,
        code="late",
        measured=f"over {seconds:.0f} s",
        value=seconds,
        unit="s",
        meaning="No answer in time; nothing is known about this.",
        remedy="Try again; if it stays so, look at the findings above it first.",
        seconds=seconds,
    )


def _broken(name: str, error: Exception) -> Finding:
    return Finding(
        check=name,
        state=State.UNKNOWN,
        code="check-broken",
        meaning=f"The check itself ended with {type(error).__name__}; nothing is known about this.",
        remedy="Report it, with 'fedtui check --json'.",
    )
