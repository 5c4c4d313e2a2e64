"""What lies on an operator's desk beside the journal: the roster, the studies, what runs are worth.

Read in a thread when a screen that shows it is opened, after an order, and when its news comes.
"""

import contextlib
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fedtui import events
from fedtui.errors import OperatorError
from fedtui.site import Home
from fedtui.tui import actions

if TYPE_CHECKING:  # a viewer that never opens these screens goes without what they need
    from fedtui.report.comparison import Comparison

_TEXT_WIDTH = 74  # columns; a study reads as well on a wide screen
# What each screen's part of the desk follows from.
NEWS: dict[str, tuple[type[events.Event], ...]] = {
    actions.JOIN: (
        events.SiteInvited, events.SiteRevoked, events.SiteClaimed, events.InvitationMade,
        events.SiteDeclined, events.SiteSuspended, events.SiteLeft, events.FederationJoined,
    ),
    actions.AGREEMENT: (events.StudyProposed, events.StudyDecided, events.DecisionSigned),
    actions.VALIDATE: (events.ValidationStarted, events.ModelValidated, events.ValidationEnded),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What was read last.

    Attributes:
        roster: Every site that this coordinator knows, as ``operations.sites`` has them.
        studies: Every version of every study, as ``operations.studies`` has them, and 'approver':
            whom it names to sign here.
        texts: In plain language, by 'id@version'.
        comparison: Of the run that was validated last.
        problems: Why a screen's part could not be read, by screen.
        read: Which screens' parts were read at all.
    """

    roster: tuple[dict[str, Any], ...] = ()
    studies: tuple[dict[str, Any], ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    comparison: "Comparison | None" = None
    problems: dict[str, str] = field(default_factory=dict)
    read: tuple[str, ...] = ()


def stamp(home: Home) -> tuple[int, ...]:
    """Changes whenever a document comes: the agent fetches what the coordinator has journaled."""
    return tuple(
        folder.stat().st_mtime_ns if folder.exists() else 0
        for folder in (home.studies, home.register, home.roster)
    )


def start(home: Home, screen: str, done: Callable[[Callable[[Desk], Desk]], None]) -> None:
    """Read one screen's part and call ``done``, from the thread, with what changes a desk."""

    def work() -> None:
        problem = ""
        changes: dict[str, Any] = {}
        try:
            changes = _PARTS[screen](home)
        except OperatorError as error:
            problem = error.sentences
        except Exception as error:  # the thread's boundary: the screen says it
            problem = f"This cannot be read ({type(error).__name__}); the command may tell more."

        def change(desk: Desk) -> Desk:
            problems = {**desk.problems, screen: problem}
            read = tuple(dict.fromkeys((*desk.read, screen)))
            return replace(desk, problems=problems, read=read, **changes)

        with contextlib.suppress(RuntimeError):  # the viewer was closed meanwhile
            done(change)

    threading.Thread(target=work, name="desk", daemon=True).start()


def _roster(home: Home) -> dict[str, Any]:
    from fedtui import operations, site

    return {"roster": tuple(operations.sites(home)) if site.load(home).coordinates else ()}


def _studies(home: Home) -> dict[str, Any]:
    from fedtui import operations

    found = tuple(
        {**one, "approver": operations.approver_of(home, named(one))}
        for one in reversed(operations.studies(home))
    )
    texts = {
        named(one): _changes(home, one, found)
        + operations.study_text(home, named(one), width=_TEXT_WIDTH)
        for one in found
    }
    return {"studies": found, "texts": texts}


def _changes(home: Home, one: dict[str, Any], known: tuple[dict[str, Any], ...]) -> str:
    """Every clause that differs from the version before, which is what a reader looks for."""
    from fedtui import operations

    older = [s for s in known if s["id"] == one["id"] and s["version"] < one["version"]]
    if not older:
        return ""
    before = max(older, key=lambda s: int(s["version"]))
    lines = [
        f"{change.key}: {_value(change.before)} becomes {_value(change.after)}"
        for change in operations.study_changes(home, named(before), named(one))
    ]
    told = [part for line in lines for part in textwrap.wrap(line, _TEXT_WIDTH)]
    return "\n".join([f"CHANGED SINCE v{before['version']}", *told, "", ""])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "nothing" if value is None else str(value)


def _comparison(home: Home) -> dict[str, Any]:
    from fedtui import operations
    from fedtui.errors import UsageError

    try:
        return {"comparison": operations.compare(home)}
    except UsageError:  # nothing is validated yet; the screen says what to do
        return {"comparison": None}


def named(study: dict[str, Any]) -> str:
    """How commands name one version of a study."""
    return f"{study['id']}@{study['version']}"


_PARTS: dict[str, Callable[[Home], dict[str, Any]]] = {
    actions.JOIN: _roster,
    actions.AGREEMENT: _studies,
    actions.VALIDATE: _comparison,
}
