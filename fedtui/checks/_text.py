"""Findings as text for a terminal, a log or a ticket."""

import textwrap

from fedtui.checks import Finding, State

_FOLDED = ("no-target", "not-deep")  # of these a reason says it for all
_WIDTH = 78  # columns beside the indentation of an 80 column terminal


def text(findings: list[Finding], *, tickets: bool = False, verbose: bool = False) -> str:
    """A line a finding; what is not well says what it means, what to do and what to ask for.

    What was not looked at for one and the same reason is one line.

    Args:
        tickets: Add the text for the network team under each network fault.
        verbose: Also explain what is well, with thresholds.
    """
    folded: dict[str, list[Finding]] = {}
    lines: list[str] = []
    for finding in findings:
        if finding.code in _FOLDED and not verbose:
            folded.setdefault(finding.code, []).append(finding)
        else:
            lines += _lines(finding, tickets, verbose)
    for code, same in folded.items():
        count = f"{len(same)} checks" if len(same) > 1 else same[0].check
        lines.append(f"{same[0].state:<7} {count:<12} {code:<22} {same[0].meaning}".rstrip())
        lines += _block("do", same[0].remedy)
    return "\n".join(lines)


def changes(findings: list[Finding]) -> str:
    """One sentence a finding, for ``--watch`` and logs."""
    return "\n".join(f"{f.state:<7} {f.check}: {f.meaning} {f.remedy}".rstrip() for f in findings)


def _lines(finding: Finding, tickets: bool, verbose: bool) -> list[str]:
    shown = finding.meaning if finding.state is State.SKIP else finding.measured
    lines = [f"{finding.state:<7} {finding.check:<12} {finding.code:<22} {shown}".rstrip()]
    unwell = finding.state in (State.WARN, State.FAIL, State.UNKNOWN)
    if unwell or verbose:
        lines += _block("means", finding.meaning)
        lines += _block("limit", finding.threshold)
        lines += _block("do", finding.remedy)
    if finding.ticket and tickets:
        lines += ["", *textwrap.indent(finding.ticket, "    | ").splitlines(), ""]
    return lines


def _block(label: str, body: str) -> list[str]:
    if not body:
        return []
    return textwrap.wrap(
        body, _WIDTH, initial_indent=f"        {label:<6}", subsequent_indent=" " * 14
    )
