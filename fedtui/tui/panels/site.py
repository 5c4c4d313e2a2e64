"""This site: the way to a run, its processes and host, its events and alarms."""

import textwrap
from collections.abc import Sequence

from fedtui.record import Record
from fedtui.tui import text, words
from fedtui.tui.panels import run as of_run
from fedtui.tui.text import Line, Panel, Span
from fedtui.tui.view import View, alarm, links

_LEVEL_ROLES = {"INFO": "dim", "WARN": "warn", "ERROR": "fail"}
_CERTIFICATE_DAYS = 14  # below this, its end is a warning
# Of the two that a home leans on the one that ends first; a site has the federation's only.
_OF = {"server": "server certificate", "authority": "federation's certificate"}
_DISK_BYTES = 2e9  # checkpoints of a large model fill this in a few rounds


def steps(view: View) -> list[tuple[str, str, str, str]]:
    """The way from a new site to a finished run: name, word, role, sentence."""
    progress, run = view.progress, view.progress.run
    if not progress.roles and not view.live:
        whose = f"of {progress.site}" if progress.site else "of one run"
        return [
            ("Log", "REPLAY", "dim", f"an exported log {whose}"),
            *_checks_step(view),
            *([_run_step(view)] if run else []),
        ]
    if not progress.roles and view.reading:
        return [("Journal", "WAIT", "wait", "being read from its beginning")]
    if not progress.roles:
        join, begin = _key(view, "3 c"), _key(view, "n")
        return [
            ("Site", "NEXT", "wait", "no site yet: join a federation, or begin one"),
            ("  join", "", "", f"{join}fedtui join CODE: as most hospitals do"),
            ("  begin", "", "", f"{begin}fedtui init NAME --coordinator"),
        ]
    found = [("Site", "OK", "ok", f"{progress.site}, {' and '.join(progress.roles)}")]
    if view.coordinates:
        found.append(_roster_step(view))
    elif progress.address:
        found.append(("Federation", "OK", "ok", f"joined at {progress.address}"))
    else:
        found.append(("Federation", "NEXT", "wait", "ask for an invitation: fedtui join CODE"))
        return found
    needed = [
        p for p, wanted in (("coordinator", view.coordinates), ("agent", view.trains)) if wanted
    ]
    missing = [p for p in needed if not view.up(p)]
    if missing and view.live:
        found.append(
            (
                "Processes",
                "NEXT",
                "wait",
                f"{' and '.join(missing)} not running: {_key(view, 'u')}fedtui up",
            )
        )
    elif missing:
        found.append(("Processes", "OFF", "dim", f"{' and '.join(missing)} not running"))
    else:
        found.append(("Processes", "OK", "ok", f"{' and '.join(needed)} running"))
    if view.trains:
        found.append(_link_step(view, missing))
    found += _checks_step(view)
    if run is None:
        order = (
            f"submit a study: {_key(view, '5 n')}fedtui run STUDY"
            if view.coordinates
            else ("none yet; the coordinator starts one")
        )
        found.append(
            ("Run", "NEXT" if not missing else "--", "wait" if not missing else "dim", order)
        )
    else:
        found.append(_run_step(view))
    return found


def _key(view: View, keys: str) -> str:
    """The keys that do what the command after them does, where orders are taken."""
    return f"{keys}, or " if view.checkup is not None and not view.readonly else ""


def _roster_step(view: View) -> tuple[str, str, str, str]:
    sites = view.progress.sites
    here, everyone = sum(sites.values()), len(sites)
    if not everyone:
        return ("Federation", "NEXT", "wait", "invite a site: fedtui invite SITE")
    told = f"{here} of {everyone} sites heard"
    if here < everyone:
        silent = ", ".join(name for name, heard in sites.items() if not heard)
        return ("Federation", "WARN", "warn", f"{told}; silent: {silent}")
    return ("Federation", "OK", "ok", told)


def _link_step(view: View, missing: list[str]) -> tuple[str, str, str, str]:
    if "agent" in missing:
        return ("Link", "--", "dim", "known when the agent runs")
    if view.progress.link:
        return ("Link", "OK", "ok", f"to {view.progress.address or 'the coordinator'} is up")
    if view.progress.link is None:
        return ("Link", "WAIT", "wait", "the agent is attaching")
    return ("Link", "FAIL", "fail", view.progress.link_cause)


def _checks_step(view: View) -> list[tuple[str, str, str, str]]:
    """Whose link is not well; nothing where every site's last checks are."""
    state, told = links(view)
    return [("Checks", state, state.lower(), told)] if state else []


def _run_step(view: View) -> tuple[str, str, str, str]:
    run = view.progress.run
    assert run is not None
    name = f"study {run.study}"
    if run.over:
        role = words.ROLES[run.state]
        return ("Run", run.state, role, f"{name}: {run.cause}")
    held = words.waiting(run, view.now)
    told = f"{name}, round {run.round} of {run.rounds}, {run.phase}"
    if held:
        return ("Run", "WAIT", "wait", f"{told}; waiting for {', '.join(held)}")
    if left := words.remaining(run):
        told += f", about {left}"
    return ("Run", run.state, words.ROLES[run.state], told)


def way(view: View) -> Panel:
    """The steps with what to do next in words."""
    known = steps(view)
    lines = [
        text.line((f"{name:<11}", "dim"), (f"{word:<10}", role), sentence)
        for name, word, role, sentence in known
    ]
    return Panel("Where this site stands", lines, len(lines), right=_next(view, known))


def _next(view: View, known: Sequence[tuple[str, str, str, str]]) -> str:
    todo = next((name for name, word, _, _ in known if word in ("NEXT", "FAIL")), "")
    if todo:
        return f"next: {todo.lower()}"
    if any(word == "WAIT" for _, word, _, _ in known):
        return ""
    return "an alarm stands" if alarm(view)[0] in ("WARN", "FAIL") else "nothing to do"


def way_narrow(view: View, width: int) -> Panel:
    """The same for a narrow column: the sentence under its step."""
    lines: list[Line] = []
    known = steps(view)
    for name, word, role, sentence in known:
        lines.append(text.line((f"{name:<11}", "title"), (word, role)))
        lines += text.wrap(sentence, width - 4, "dim")
    return Panel("Where this site stands", lines, len(lines), right="")


def here(view: View, width: int) -> Panel:
    """Device, memory, disk, certificate, and what has left."""
    lines = [*_machine(view, width - 4), *of_run.given(view, view.progress.run, width - 4)]
    return Panel("This site", lines, len(lines), right=view.host.path if view.host else "")


def machine(view: View) -> Panel:
    """The host alone: processes with their memory, disk, certificate."""
    lines: list[Line] = []
    host = view.host
    known = host.alive if host else view.progress.processes
    for name, pid in known.items():
        memory = words.size(host.memory[name]) if host and name in host.memory else "--"
        lines.append(text.line((f"{name:<12}", ""), (f"process {pid:<8}", "dim"), f"{memory:>8}"))
    if not known:
        lines.append((("no process of this home runs", "dim"),))
    if view.trains and "trainer" not in known and "agent" in known:
        lines.append((("trainer     starting or idle", "dim"),))
    return Panel("Processes", lines, len(lines), right="memory" if host and known else "")


def _machine(view: View, width: int) -> list[Line]:
    progress, host = view.progress, view.host
    device: list[Span] = [("device ", "dim"), (progress.device or "not reported yet", "")]
    if progress.device_memory:
        device.append((f", {words.size(progress.device_memory)}", ""))
    if not view.trains and not progress.device:
        device = []
    facts: list[Span] = []
    if host is not None:
        if "trainer" in host.memory:
            facts += [("memory ", "dim"), (words.size(host.memory["trainer"]), "")]
        low = host.disk_free < _DISK_BYTES
        facts += [
            ("  disk " if facts else "disk ", "dim"),
            (f"{words.rough(host.disk_free)} free{' LOW' if low else ''}", "warn" if low else ""),
        ]
        if host.certificate:
            soon = host.days < _CERTIFICATE_DAYS
            facts += [
                (f"  {_OF[host.certificate]} ", "dim"),
                (f"{words.count(host.days)} days{' SOON' if soon else ''}", "warn" if soon else ""),
            ]
    if not facts:
        return [tuple(device)] if device else []
    joined = (*device, ("  " if device else "", ""), *facts)
    if text.length(joined) <= width:
        return [joined]
    if not device:
        return [tuple(facts)]
    if text.length(tuple(facts)) <= width:
        return [tuple(device), tuple(facts)]
    rows = [tuple(device)]
    for dim, told in zip(facts[::2], facts[1::2], strict=True):
        rows.append(((dim[0].strip() + " ", "dim"), told))
    return rows


def worth(record: Record) -> bool:
    """Whether an event is news: steps within a round are not, and bookkeeping is not."""
    return type(record.event).__name__ not in _QUIET


_QUIET = {"TrainingProgressed", "WorkReceived", "WorkAnswered", "CheckpointWritten"}


def event(record: Record) -> Line:
    """One record on one line: time, level, sentence."""
    level = record.event.level
    word = "FAIL" if level == "ERROR" else level
    return text.line(
        (words.clock(record.time) + " ", "dim"),
        (f"{word:<5}", _LEVEL_ROLES[level]),
        (record.event.sentence, ""),
    )


def _block(record: Record, width: int) -> list[Line]:
    """The same on as many lines as it needs; a narrow column names the level of alarms only."""
    time, (level, role), (sentence, _) = event(record)
    start = (time, (level, role)) if width >= _WIDE or level.strip() != "INFO" else (time,)
    before = text.length(start)
    indent = before if width >= _WIDE else 2
    parts = textwrap.wrap(sentence, width - indent, initial_indent=" " * (before - indent)) or [""]
    first = (*start, (parts[0].strip(), ""))
    return [first, *(((" " * indent + part, ""),) for part in parts[1:])]


_WIDE = 70  # columns


def events(view: View, width: int, height: int) -> Panel:
    """The last news, newest at the bottom."""
    lines: list[Line] = []
    for record in reversed(view.records):
        if not worth(record):
            continue
        block = _block(record, width - 4)
        if len(lines) + len(block) > height:
            if not lines:
                lines = block[:height]
            break
        lines = [*block, *lines]
    return Panel("Events", lines or [(("nothing has happened yet", "dim"),)], height)


def alarms(view: View, width: int, height: int) -> Panel:
    """The last warnings and errors, newest first."""
    lines = [one for r in reversed(view.progress.alarms) for one in _block(r, width - 4)]
    return Panel("Last alarms", lines[:height] or [(("none", "dim"),)], height)
