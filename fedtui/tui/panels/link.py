"""The checks of the link: this home's findings, one of them in full, every site's last ones."""

import textwrap
from typing import TYPE_CHECKING

from fedtui.progress import SiteFinding
from fedtui.tui import text, words
from fedtui.tui.checking import Checkup
from fedtui.tui.text import Column, Line, Panel, Span
from fedtui.tui.view import View, unwell

if TYPE_CHECKING:
    from fedtui.checks import Finding

_WIDE = 84  # columns; from here on a row has room for a finding's code too
_INDENT = 8
_SHORT = "checks this host and its link to the coordinator: some seconds; harmless to a run"
_DEEP = (
    "also idle limits, packet size, loss, jitter and bandwidth: about a minute, of which 3 s each "
    "way fill the line (some megabytes, on a fast one hundreds)"
)
_NOT_JOINED = (
    "No federation is joined: the link is not measured. 'fedtui check HOST:PORT' or 'fedtui check "
    "--invitation FILE' looks at it before joining."
)


def checks(
    view: View, checkup: Checkup, chosen: int, width: int, height: int, wanted: str = ""
) -> Panel:
    """A row a finding, around the chosen one; how many came to what in the frame.

    Args:
        wanted: The filter that left these findings of all.
    """
    if not checkup.findings and wanted:
        return Panel(f"Checks with '{wanted}'", [((words.NO_MATCH, "dim"),)], height)
    if not checkup.findings:
        return Panel("Checks", _empty(view, checkup, width - 4), height)
    wide = width >= _WIDE
    columns = [
        Column(" CHECK", 14),
        Column("STATE", 9),
        *([Column("FINDING", 22)] if wide else []),
        Column("TIME", 7, ">"),
        Column("MEASURED", 0),
    ]
    rows = max(1, height - 1)
    start = max(0, min(chosen - rows // 2, len(checkup.findings) - rows))
    drawn = [
        _row(finding, chosen=start + offset == chosen, wide=wide)
        for offset, finding in enumerate(checkup.findings[start : start + rows])
    ]
    return Panel(
        f"Checks with '{wanted}'" if wanted else "Checks",
        text.table(columns, drawn, width - 4),
        height,
        right=_under_way(view, checkup) or _told(checkup),
    )


def _row(finding: "Finding", *, chosen: bool, wide: bool) -> list[Span]:
    state, role = words.verdict(finding.state)
    skipped = finding.state == "SKIP"
    measured = finding.meaning if skipped or not finding.measured else finding.measured
    return [
        ((">" if chosen else " ") + finding.check, "mine" if chosen else ""),
        (state, role),
        *([(finding.code, "dim")] if wide else []),
        ("--" if skipped else _took(finding.seconds), "dim"),
        (measured, "dim" if skipped else ""),
    ]


def _took(seconds: float) -> str:
    return words.span(seconds) if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _told(checkup: Checkup) -> str:
    states = [str(f.state) for f in checkup.findings]
    parts = [f"{states.count(state)} {state}" for state in words.VERDICTS if state in states]
    return f"{words.clock(checkup.time)}{', deep' if checkup.deep else ''}: {', '.join(parts)}"


def _under_way(view: View, checkup: Checkup) -> str:
    if checkup.since is None:
        return ""
    seconds = view.now - checkup.since
    lasting = f" {words.lasting(seconds)}" if seconds >= words.STEP_SECONDS else ""
    old = f"; below: of {words.clock(checkup.time)}" if checkup.findings else ""
    return f"checking{' deeply' if checkup.deep else ''} {view.glyphs.dots}{lasting}{old}"


def _empty(view: View, checkup: Checkup, width: int) -> list[Line]:
    if under_way := _under_way(view, checkup):
        return [
            ((under_way, "work"),),
            (("Nothing is known before the checks have ended.", "dim"),),
        ]
    lines: list[Line] = [(("Not checked from here yet.", "title"),), ()]
    lines += [*_item("r", _SHORT, width), *_item("D", _DEEP, width)]
    if view.trains and not view.coordinates and not view.progress.address:
        lines += [(), *text.wrap(_NOT_JOINED, width, "dim")]
    return lines


def _item(key: str, told: str, width: int) -> list[Line]:
    first, *rest = textwrap.wrap(told, max(8, width - 3))
    return [((f"{key:<3}", "key"), (first, "")), *(((f"   {part}", ""),) for part in rest)]


def detail(finding: "Finding", width: int) -> list[Line]:
    """What a finding means, what to do, where the limit is, and the ticket's text."""
    lines: list[Line] = []
    for label, told in (
        ("found", finding.measured),
        ("means", finding.meaning),
        ("do", finding.remedy),
        ("limit", finding.threshold),
    ):
        lines += _block(label, told, width)
    if finding.ticket:
        lines.append((("ticket  ", "dim"), ("y copies it, w writes all to a file", "")))
        for row in finding.ticket.splitlines():
            indent = " " * (len(row) - len(row.partition(":")[2].lstrip()))
            lines += [
                ((part, "mine"),)
                for part in textwrap.wrap(row, width, subsequent_indent=indent[: width // 3])
            ]
    return lines


def _block(label: str, told: str, width: int) -> list[Line]:
    parts = textwrap.wrap(told, max(8, width - _INDENT))
    heads = [f"{label:<{_INDENT}}", *[" " * _INDENT] * len(parts)]
    return [((head, "dim"), (part, "")) for head, part in zip(heads, parts, strict=False)]


def problem(checkup: Checkup, width: int) -> list[Line]:
    """Why the last checks came to nothing, if they did."""
    return text.wrap(checkup.problem, width, "warn") if checkup.problem else []


def sites(view: View, width: int, most: int) -> list[Line]:
    """What every site found last; a line for each check that is not well, then its words.

    The words give way where ``most`` lines do not hold them.
    """
    everyone = sorted(view.progress.findings.items(), key=lambda pair: not unwell(pair[1]))
    heads: list[tuple[Line, str]] = []
    for site, found in everyone:
        name = (f"{_plain(site):<12} ", "mine" if site == view.progress.site else "")
        bad = unwell(found)
        for check, finding in bad.items():
            state, role = words.verdict(finding.state)
            about = f" {_plain(finding.code)}, {view.when(finding.since)}"
            line = (name, (f"{_plain(check)} ", ""), (state, role), (about, ""))
            heads.append((line, finding.words))
        if not bad:
            heads.append((_well(view, name, found), ""))
    if len(heads) > most:
        more = (((f"and {len(heads) - most + 1} more; 7 Logs has all of them", "dim"),), "")
        heads = [*heads[: max(0, most - 1)], more]
    full = [[line, *_indented(said, width)] for line, said in heads]
    if sum(map(len, full)) <= most:
        return [line for block in full for line in block]
    return [line for line, _ in heads]


def _well(view: View, name: Span, found: dict[str, SiteFinding]) -> Line:
    state, role = words.verdict("OK")
    unknown = sum(1 for f in found.values() if f.state == "UNKNOWN")
    told = f"{len(found) - unknown} checks well"
    told += f", {unknown} without an answer" if unknown else ""
    newest = max((f.since for f in found.values()), default=0.0)
    return (name, (state, role), (f" {told}, {view.when(newest)}", ""))


def _indented(said: str, width: int) -> list[Line]:
    return [((f"  {part}", "dim"),) for part in textwrap.wrap(said, max(8, width - 2))]


def _plain(told: str) -> str:
    """Another site's word on one line."""
    return " ".join(told.split())


def ticket(finding: "Finding") -> str:
    """What an operator hands on: the ticket under the finding's name, or else the finding."""
    head = f"{finding.check}: {finding.state} {finding.code}"
    told = (finding.ticket,) if finding.ticket else (finding.meaning, finding.remedy)
    return "\n".join([head, *(part for part in told if part)]) + "\n"
