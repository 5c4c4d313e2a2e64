"""Join: into a federation by a code, and at the coordinator who is in it."""

from typing import Any

from fedtui.tui import actions, text, words
from fedtui.tui.cursor import Cursor
from fedtui.tui.panels import site
from fedtui.tui.text import Column, Line, Panel, Span
from fedtui.tui.view import View

_ROLES = {
    "enrolled": ("= ENROLLED", "ok"),
    "pending": ("? PENDING", "wait"),
    "invited": ("- INVITED", "dim"),
    "suspended": ("! SUSPENDED", "warn"),
    "revoked": ("x REVOKED", "fail"),
    "left": ("- LEFT", "dim"),
    "expired": ("- EXPIRED", "dim"),
    "void": ("- VOID", "dim"),
}


class Joining:
    """Screen 3."""

    name = actions.JOIN

    def __init__(self) -> None:
        self.words = ""
        self._cursor = Cursor()

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """What this site belongs to; at the coordinator the roster and the chosen site."""
        panels = [self._membership(view, width)]
        if view.coordinates:
            panels += self._roster(view, width, height - panels[0].height - 2)
        else:
            known = _others(view)
            panels.append(Panel("Sites that this one has heard of", known, len(known)))
        rest = height - sum(p.height + 1 for p in panels) - 2
        if rest > 0:
            panels.append(site.events(view, width, rest))
        return text.stack(text.fill(panels, height), width, view.glyphs)[:height]

    def _membership(self, view: View, width: int) -> Panel:
        progress = view.progress
        if not progress.roles and not view.live:
            return _said("Federation", "This log does not tell of it.", width)
        if view.coordinates:
            own = f"{progress.site} coordinates this federation."
            how = (
                f"{'i' if view.orders else 'fedtui invite SITE'} invites a site: a code for its "
                "operator, good once and for 72 hours. A site that used it is pending: have its "
                f"operator read the six words to you, then "
                f"{'C' if view.orders else 'fedtui sites --confirm SITE'}."
            )
            return _said("Federation", own, width, how)
        if progress.address:
            own = f"{progress.site} belongs to the federation at {progress.address}."
            how = "Until it is confirmed there, 'fedtui up' (key 1, then u) goes on asking."
            return _said("Federation", own, width, "" if view.progress.link else how)
        how = (
            "Ask the coordinator's operator for a code, then "
            f"{'press c' if view.orders else 'fedtui join CODE'}. This host's keys are made here; "
            "the private ones never leave it. Nothing of any patient is sent by joining."
        )
        return _said("Federation", "This host belongs to no federation yet.", width, how)

    def _roster(self, view: View, width: int, height: int) -> list[Panel]:
        found = self._matching(view)
        title = f"Roster with '{self.words}'" if self.words else "Roster"
        self._cursor.settle([str(entry["site"]) for entry in found])
        chosen = self._cursor.at
        if problem := view.desk.problems.get(actions.JOIN):
            lines = text.wrap(problem, width - 4, "fail")
            return [Panel("Roster", lines, len(lines))]
        if not found and self.words:
            return [Panel(title, [((words.NO_MATCH, "dim"),)], 1)]
        if not found:
            word = "No site is invited yet." if actions.JOIN in view.desk.read else "Being read."
            if view.checkup is None:
                word = "This log does not hold the roster."
            return [Panel("Roster", [((word, "dim"),)], 1)]
        one = found[chosen]
        detail = _detail(one, width - 4, own=one["site"] == view.progress.site)
        page = max(1, min(len(found), height - len(detail) - 4))
        start = max(0, min(chosen - page // 2, len(found) - page))
        columns = [
            Column(" SITE", 25),
            Column("STATE", 12),
            Column("HEARD", 7),
            Column("KEY", 0),
        ]
        rows = [
            _row(view, entry, chosen=start + at == chosen)
            for at, entry in enumerate(found[start : start + page])
        ]
        lines = text.table(columns, rows, width - 4)
        right = f"{chosen + 1} of {len(found)}"
        return [
            Panel(title, lines, page + 1, right=right),
            Panel(str(one["site"]), detail, len(detail)),
        ]

    def site(self, view: View) -> dict[str, Any] | None:
        """The chosen one."""
        name = self._cursor.name
        return next((one for one in self._matching(view) if one["site"] == name), None)

    def _matching(self, view: View) -> list[dict[str, Any]]:
        return [
            entry
            for entry in view.desk.roster
            if words.holds(f"{entry['site']} {entry['state']} {entry.get('key', '')}", self.words)
        ]

    def move(self, rows: int) -> None:
        """Choose another site."""
        self._cursor.move(rows)

    def page(self, direction: int) -> None:
        """Ten sites on, or back."""
        self.move(10 * direction)


def _said(title: str, word: str, width: int, how: str = "") -> Panel:
    lines: list[Line] = [((word, "title"),)]
    lines += text.wrap(how, width - 4, "dim") if how else []
    return Panel(title, lines, len(lines))


def _row(view: View, entry: dict[str, Any], *, chosen: bool) -> list[Span]:
    name = str(entry["site"])
    word, role = _ROLES.get(str(entry["state"]), (str(entry["state"]).upper(), "dim"))
    here = view.progress.sites.get(name)
    heard = "--" if here is None else "yes" if here else "silent"
    return [
        ((">" if chosen else " ") + name, "mine" if name == view.progress.site else ""),
        (word, role),
        (heard, "warn" if here is False and entry["state"] == "enrolled" else ""),
        (str(entry.get("key") or "--"), "dim"),
    ]


def _detail(entry: dict[str, Any], width: int, *, own: bool) -> list[Line]:
    state = entry["state"]
    lines: list[Line] = []
    if entry.get("key"):
        lines.append(text.line(("key     ", "dim"), str(entry["key"])))
    if state == "pending":
        lines.append(text.line(("words   ", "dim"), (str(entry["words"]), "mine")))
        lines.append(text.line(("from    ", "dim"), str(entry["origin"])))
        told = (
            "Call its operator: the six words there must be these. C confirms, d declines; whoever "
            "is confirmed takes part with this key."
        )
    elif state == "invited":
        lines.append(text.line(("until   ", "dim"), f"{entry['until']}"))
        told = f"{entry['tries_left']} tries are left. i makes a new code, d takes it back."
    elif state == "enrolled" and own:
        told = "This very site."
    elif state == "enrolled":
        told = "S suspends it for a time; X revokes it for good, under the federation's signature."
    elif state == "suspended":
        told = "It is refused for the time being. S takes it back, X revokes it for good."
    elif state == "left":
        told = "It ended its membership itself. i invites it anew."
    elif state == "revoked":
        told = "It was told so under the federation's signature, and ended. i invites it anew."
    else:
        told = "Its invitation is of no use any more; i makes a new one."
    return [*lines, *text.wrap(told, width, "dim")]


def _others(view: View) -> list[Line]:
    sites = view.progress.sites
    if not sites:
        return [(("none yet", "dim"),)]
    return [
        text.line(
            (f"{name:<25}", ""), ("= heard" if here else "x silent", "ok" if here else "fail")
        )
        for name, here in sites.items()
    ]
