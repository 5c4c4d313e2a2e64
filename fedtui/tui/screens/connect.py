"""Connect: what is wrong with this host or its link, what to do, and what to ask for."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fedtui.tui import actions, text, words
from fedtui.tui.panels import link, site
from fedtui.tui.text import Line, Panel
from fedtui.tui.view import View

if TYPE_CHECKING:
    from fedtui.checks import Finding

_WIDE = 110  # columns; from here on the chosen finding is beside the list


class Connect:
    """Screen 2. ``chosen`` counts the findings from 0, ``start`` the lines of that one."""

    name = actions.CONNECT

    def __init__(self) -> None:
        self.words = ""
        self.chosen = 0
        self._start = 0
        self._most = 0
        self._page = 1

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """The list, the chosen finding under or beside it, and what every site found."""
        checkup = view.checkup
        if checkup is None:
            return self._journal(view, width, height)
        checkup = replace(checkup, findings=self._matching(view))
        self._most = len(checkup.findings)
        self.chosen = max(0, min(self.chosen, self._most - 1))
        if width < _WIDE:
            rest = height - 1
            below = self._sites(view, width, 3 if height < 30 else rest // 3)
            rest -= sum(p.height + 1 for p in below)
            upper = max(2, min(rest - 2, 1 + self._most if self._most else rest, rest // 2))
            found = link.checks(view, checkup, self.chosen, width, upper - 1, self.words)
            panels = [found, self._detail(view, width, rest - upper - 1), *below]
            return text.stack(panels, width, view.glyphs)[:height]
        right = max(54, width * 2 // 5)
        left = width - right
        below = self._sites(view, right, height // 3)
        room = height - 2 - sum(p.height + 1 for p in below)
        found = link.checks(view, checkup, self.chosen, left, height - 2, self.words)
        return text.beside(
            [
                (text.stack([found], left, view.glyphs), left),
                (text.stack([self._detail(view, right, room), *below], right, view.glyphs), right),
            ]
        )

    def _detail(self, view: View, width: int, height: int) -> Panel:
        checkup = view.checkup
        assert checkup is not None
        finding = self.finding(view)
        lines = link.problem(checkup, width - 4)
        if finding is None:
            return Panel("What to do", lines or _next(view), height)
        lines += link.detail(finding, width - 4)
        self._page = max(1, height)
        self._start = max(0, min(self._start, len(lines) - self._page))
        more = len(lines) - self._start - self._page
        right = f"PgDn: {more} more" if more > 0 else "PgUp: above" if self._start else ""
        title = f"{finding.check}: {finding.state} {finding.code}"
        return Panel(title, lines[self._start :], height, right=right)

    def _sites(self, view: View, width: int, most: int) -> list[Panel]:
        lines = link.sites(view, width - 4, most)
        return [Panel(_SITES, lines, len(lines))] if lines else []

    def _journal(self, view: View, width: int, height: int) -> list[Line]:
        """Without a home there is nothing to check: what the journal holds."""
        lines = link.sites(view, width - 4, height - 2)
        lines = lines or [(("No site has told of its link in this log.", "dim"),)]
        return text.stack([Panel(_SITES, lines, height - 2)], width, view.glyphs)

    def finding(self, view: View) -> "Finding | None":
        """The chosen one."""
        found = self._matching(view)
        return found[self.chosen] if self.chosen < len(found) else None

    def _matching(self, view: View) -> "tuple[Finding, ...]":
        found = view.checkup.findings if view.checkup else ()
        return tuple(
            f
            for f in found
            if words.holds(f"{f.check} {f.state} {f.code} {f.measured}", self.words)
        )

    def move(self, rows: int) -> None:
        """Choose another finding."""
        self.chosen = max(0, min(self._most - 1, self.chosen + rows))
        self._start = 0

    def page(self, direction: int) -> None:
        """Read on in the chosen finding, or back."""
        self._start = max(0, self._start + direction * max(1, self._page - 1))

    def restart(self) -> None:
        """New findings: what is worst stands first."""
        self.chosen = self._start = 0


_SITES = "Every site's link, as all sites see it"


def _next(view: View) -> list[Line]:
    """Before the first checks: the way to a link."""
    return [
        text.line((f"{name:<11}", "dim"), (f"{word:<10}", role), sentence)
        for name, word, role, sentence in site.steps(view)
    ]
