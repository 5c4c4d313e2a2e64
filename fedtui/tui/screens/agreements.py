"""Agreement: every study this site knows, in plain language, to be read before it is signed."""

from typing import Any

from fedtui.tui import actions, text, words
from fedtui.tui.cursor import Cursor
from fedtui.tui.desk import named
from fedtui.tui.text import Column, Line, Panel, Span
from fedtui.tui.view import View

_STATES = {
    "proposed": ("? PROPOSED", "wait"),
    "approved": ("= APPROVED", "ok"),
    "declined": ("x DECLINED", "fail"),
    "withdrawn": ("x WITHDRAWN", "fail"),
    "expired": ("- EXPIRED", "dim"),
}
_SAID = {"approved": "+", "declined": "x", "withdrawn": "x", "missing": "."}
_LIST = 5  # rows; the text needs the room


class Agreements:
    """Screen 4."""

    name = actions.AGREEMENT

    def __init__(self) -> None:
        self.words = ""
        self._cursor = Cursor()
        self._start = 0
        self._page = 1
        self._read: set[str] = set()  # fingerprints whose end was on the screen

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """The studies, then the chosen one's text."""
        desk = view.desk
        studies = self._matching(view)
        title = f"Studies with '{self.words}'" if self.words else "Studies"
        if self._cursor.settle([str(one["fingerprint"]) for one in studies]):
            self._start = 0  # another study is read from its beginning
        chosen, most = self._cursor.at, len(studies)
        if not desk.studies:
            lines = _empty(view, width)
            return text.stack([Panel("Agreement", lines, height - 2)], width, view.glyphs)[:height]
        if not studies:
            lines = [((words.NO_MATCH, "dim"),)]
            return text.stack([Panel(title, lines, height - 2)], width, view.glyphs)[:height]
        shown = min(_LIST, most)
        start = max(0, min(chosen - shown // 2, most - shown))
        columns = [Column(" STUDY", 24), Column("STATE", 11), Column("SITES", 0), Column("BY", 14)]
        rows = [
            _row(one, chosen=start + at == chosen)
            for at, one in enumerate(studies[start : start + shown])
        ]
        table = text.table(columns, rows, width - 4)
        list_ = Panel(title, table, shown + 1, right=f"{chosen + 1} of {most}: + approved")
        one = studies[chosen]
        lines = [((line, ""),) for line in desk.texts.get(named(one), "").splitlines()]
        self._page = max(1, height - shown - 4)
        self._start = max(0, min(self._start, len(lines) - self._page))
        more = len(lines) - self._start - self._page
        if more <= 0 and lines:
            self._read.add(str(one["fingerprint"]))
        right = f"PgDn: {more} more" if more > 0 else "read to its end"
        body = Panel(
            f"{one['id']} v{one['version']}  {str(one['fingerprint'])[:16]}",
            lines[self._start :],
            self._page,
            right=right,
        )
        return text.stack([list_, body], width, view.glyphs)[:height]

    def study(self, view: View) -> dict[str, Any] | None:
        """The chosen version of a study."""
        name = self._cursor.name
        return next((one for one in self._matching(view) if one["fingerprint"] == name), None)

    def _matching(self, view: View) -> list[dict[str, Any]]:
        return [
            one
            for one in view.desk.studies
            if words.holds(
                f"{named(one)} {one['state']} {one['proposed_by']} {' '.join(one['sites'])}",
                self.words,
            )
        ]

    def is_read(self, study: dict[str, Any]) -> bool:
        """Whether the text's end was on this screen."""
        return study["fingerprint"] in self._read

    def move(self, rows: int) -> None:
        """Choose another study."""
        self._cursor.move(rows)

    def page(self, direction: int) -> None:
        """Read on, or back."""
        self._start = max(0, self._start + direction * max(1, self._page - 1))


def _row(one: dict[str, Any], *, chosen: bool) -> list[Span]:
    word, role = _STATES.get(str(one["state"]), (str(one["state"]).upper(), "dim"))
    said = " ".join(f"{_SAID.get(s['said'], '.')}{name}" for name, s in one["sites"].items())
    older = "" if one["newest"] else " (old)"
    return [
        ((">" if chosen else " ") + f"{one['id']} v{one['version']}{older}", ""),
        (word, role),
        (said, ""),
        (str(one["proposed_by"]), "dim"),
    ]


def _empty(view: View, width: int) -> list[Line]:
    if problem := view.desk.problems.get(actions.AGREEMENT):
        return text.wrap(problem, width - 4, "fail")
    if view.checkup is None:
        return [(("This log does not hold the studies' texts.", "dim"),)]
    if not view.progress.roles and not view.reading:
        return [
            (("There is no site here yet.", "title"),),
            *text.wrap(
                "Studies are put to the sites of a federation: 'fedtui join CODE' (key 3) joins "
                "one, 'fedtui init NAME --coordinator' (key 1) begins one.",
                width - 4,
            ),
        ]
    if actions.AGREEMENT not in view.desk.read:
        return [(("Being read.", "dim"),)]
    propose = "n" if view.orders else "'fedtui study propose FILE'"
    return [
        (("No study has been proposed yet.", "title"),),
        *text.wrap(
            f"'fedtui study new' writes one, by questions; {propose} proposes it to its sites. "
            "Every study on patients' data needs the approval of every site, under a person's own "
            "key.",
            width - 4,
        ),
    ]
