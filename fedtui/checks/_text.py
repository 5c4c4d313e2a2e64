"""Findings as text for a terminal, a log or a ticket."""

import textwrap

from fedtui.checks import Finding, State

_WIDTH = 78  # columns beside the indentation of an 80 column terminal


def text(findings: list[Finding], *, tickets: bool = False, verbose: bool = False) -> str:
    """A line a finding; what is not well says what it means, what to do and what to ask for.

    Args:
        tickets: Add the text for the network team under each network fault.
        verbose: Also explain what is well, with thresholds.
    """
    return "\n".join(part for f in findings for part in _lines(f, tickets, verbose))


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
