"""What checks found, kept in the journal, so that every site sees it in the same words.

Apart from the other operations, since only this one needs the checks.
"""

from dataclasses import dataclass, field

from fedtui import checks, events, site
from fedtui.checks import Finding, State
from fedtui.errors import joined
from fedtui.journal import Journal
from fedtui.site import Home

_UNWELL = (State.WARN, State.FAIL)


@dataclass(slots=True)
class Known:
    """What this site journaled of its checks; who keeps it reads only what is new each time.

    Attributes:
        seen: The journal's last record that was looked at.
        findings: State and code, by check.
    """

    seen: int = 0
    findings: dict[str, str] = field(default_factory=dict)

    def follow(self, book: Journal, site: str) -> None:
        """Take in what the journal has told since, by whichever process."""
        head = book.head()[0]
        for record in book.own(("LinkChecked",), self.seen):
            if isinstance(record.event, events.LinkChecked) and record.event.site == site:
                self.findings |= record.event.findings
            head = max(head, record.seq)
        self.seen = head


def record(home: Home, findings: list[Finding], book: Journal, known: Known | None = None) -> bool:
    """Journal ``findings`` if they differ from the last that this site journaled of these checks.

    Args:
        known: For a process that asks again and again.

    Returns:
        Whether they did.
    """
    name = site.load(home).name
    # Of the link only: what a site's own disks and data are like is nobody else's business.
    ran = {
        f.check: f for f in findings if f.state is not State.SKIP and checks.load(f.check).NETWORK
    }
    now = {check: f"{f.state} {f.code}" for check, f in ran.items()}
    known = known or Known()
    known.follow(book, name)
    before = known.findings
    if not now or all(before.get(check) == words for check, words in now.items()):
        return False
    unwell = {c: joined(f.meaning, f.remedy) for c, f in ran.items() if f.state in _UNWELL}
    book.append(events.LinkChecked(site=name, findings=now, unwell=unwell))
    return True


def check(home: Home | None, target: checks.Target | None, *, deep: bool) -> list[Finding]:
    """Every check that applies; those of a joined home are journaled for the other sites too."""
    findings = checks.run(target, home=home, deep=deep)
    if home is not None and target is None and home.membership.exists():
        book = Journal(home.journal, source="operator")
        try:
            record(home, findings, book)
        finally:
            book.close()
    return findings
