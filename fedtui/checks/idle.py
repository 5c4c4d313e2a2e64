"""How long a connection may be silent before something in between forgets or closes it."""

import http.client
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket

NEEDS = ("hello",)
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = True

_AGENT_SECONDS = 20.0  # the agent's longest silence: fedtui.flower.agent.WAIT_SECONDS
_GOOD_SECONDS = 60.0  # three times that, and what HTTP proxies usually allow
_STEPS = (1 / 12, 1 / 6, 1 / 3, 1 / 2, 1.0)  # of the longest idle time, one connection each
_ANSWER_SECONDS = 4.0
_LIMIT = f"{_GOOD_SECONDS:.0f} s; the agent is silent for up to {_AGENT_SECONDS:.0f} s (fedtui)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Silence:
    """One connection's idle time in seconds, and how it ended: alive, closed or dead."""

    seconds: float
    end: str


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Hold several connections silent for different times, then speak on each."""
    silences: list[_Silence] = []
    threads = [
        threading.Thread(
            target=lambda s=step * inquiry.idle_seconds: silences.append(_hold(inquiry, s)),
            daemon=True,
        )
        for step in _STEPS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(inquiry.idle_seconds + 4 * _ANSWER_SECONDS)
    yield _judged(inquiry, silences)


def _hold(inquiry: Inquiry, seconds: float) -> _Silence:
    try:
        with _wire.session(inquiry) as session:
            session.request("GET", "/fedtui/hello")  # also takes in TLS session tickets
            began = time.monotonic()
            if select.select([session.sock], [], [], seconds)[0]:
                return _Silence(seconds=time.monotonic() - began, end="closed")
            session.request("GET", "/fedtui/hello", timeout=_ANSWER_SECONDS)
            return _Silence(seconds=seconds, end="alive")
    except TimeoutError:
        return _Silence(seconds=seconds, end="dead")
    except (OSError, http.client.HTTPException):
        return _Silence(seconds=seconds, end="closed")


def _judged(inquiry: Inquiry, silences: list[_Silence]) -> Finding:
    alive = max((s.seconds for s in silences if s.end == "alive"), default=0.0)
    ended = min((s for s in silences if s.end != "alive"), key=lambda s: s.seconds, default=None)
    if ended is None:
        enough = alive >= _GOOD_SECONDS
        return Finding(
            state=State.OK if enough else State.UNKNOWN,
            code="idle-ok" if enough else "idle-short",
            measured=f"at least {alive:.0f} s",
            value=round(alive, 2),
            unit="s",
            threshold=_LIMIT,
            meaning="Silent connections live on"
            + ("." if enough else f"; {alive:.0f} s were tried, longer is not known."),
        )
    clean = ended.end == "closed"
    short = ended.seconds if clean else alive  # dead ones died somewhere in between
    state = (
        State.FAIL if short < _AGENT_SECONDS else State.WARN if short < _GOOD_SECONDS else State.OK
    )
    measured = (
        f"{ended.seconds:.1f} s" if clean else f"between {alive:.0f} and {ended.seconds:.0f} s"
    )
    meaning = (
        f"Something in between closes connections after {ended.seconds:.1f} s of silence."
        if clean
        else f"Something in between forgets connections that are silent for {measured}, and tells "
        "neither end: what is sent afterwards vanishes."
    )
    return Finding(
        state=state,
        code="idle-closed" if clean else "idle-silent",
        measured=measured,
        value=round(short, 2),
        unit="s",
        threshold=_LIMIT,
        meaning=meaning,
        remedy=f"Ask for an idle timeout of at least {_GOOD_SECONDS:.0f} s for this address.",
        ticket=ticket(
            inquiry,
            f"an idle timeout of {_GOOD_SECONDS:.0f} s or more",
            f"silent connections end after {measured}",
        ),
    )
