"""What checks found, kept in the journal, so that every site sees it in the same words.

Apart from the other operations, since only this one needs the checks.
"""

from fedtui import checks, events, site
from fedtui.checks import Finding, State
from fedtui.journal import Journal
from fedtui.site import Home

_UNWELL = (State.WARN, State.FAIL)
_LOOKED_AT = 100  # journaled changes; a check that none of them tells of is told anew


def record(home: Home, findings: list[Finding], book: Journal) -> bool:
    """Journal ``findings`` if they differ from the last that this site journaled of these checks.

    Returns:
        Whether they did.
    """
    name = site.load(home).name
    # Of the link only: what a site's own disks and data are like is nobody else's business.
    ran = {
        f.check: f for f in findings if f.state is not State.SKIP and checks.load(f.check).NETWORK
    }
    now = {check: f"{f.state} {f.code}" for check, f in ran.items()}
    before: dict[str, str] = {}
    for record in reversed(book.newest(("LinkChecked",), limit=_LOOKED_AT, own=True)):
        if isinstance(record.event, events.LinkChecked) and record.event.site == name:
            before |= record.event.findings
    if not now or all(before.get(check) == words for check, words in now.items()):
        return False
    unwell = {c: f"{f.meaning} {f.remedy}".strip() for c, f in ran.items() if f.state in _UNWELL}
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
