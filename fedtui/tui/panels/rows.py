"""The rows that every screen has: header, alarm, keys."""

from collections.abc import Sequence
from dataclasses import replace

from fedtui.tui import text
from fedtui.tui.actions import Action
from fedtui.tui.text import Line
from fedtui.tui.view import View, alarm

_WIDE = 100  # columns; below, other screens go by their short names


def header(view: View, width: int) -> Line:
    """Site, study, phase, role, link, and how old the last news is."""
    progress = view.progress
    run = progress.run
    phase = view.phase
    if run is not None and not run.over and run.round:
        phase += f" {run.round}/{run.rounds}"
    link, role = view.link
    ends = [
        ("  link ", "bar"),
        (f"{link}", "bar" if role == "ok" else "bar-fail"),
        ("  " + view.news, "bar"),
    ]
    if view.stale:
        ends.append((" STALE", "bar-fail"))
    if view.paused:
        ends.append((" HELD", "bar-fail"))
    if not view.live:
        ends.append(("  REPLAY", "bar-strong"))
    elif width >= 100:
        ends.append(("  viewer" if view.readonly else "  operator", "bar"))
    ends.append((" ", "bar"))
    roles = "+".join(r for r in progress.roles) if width >= 100 else ""
    start = [
        (" fedtui  " if width >= 100 else " ", "bar"),
        (progress.site or _nameless(view), "bar-strong"),
        (f" ({roles})" if roles else "", "bar"),
    ]
    middle = [
        (f"  study {run.study}" if run else "", "bar"),
        ("  " + phase, "bar-strong"),
        (" interop" if run and run.interop else "", "bar-strong"),
    ]
    over = text.length((*start, *middle, *ends)) - width
    if over > 0:  # the study's name gives way first, then the site's
        study = middle[0][0]
        middle[0] = (text.cut(study, max(0, len(study) - over), "~"), "bar")
        over = text.length((*start, *middle, *ends)) - width
    if over > 0:
        name = start[1][0]
        start[1] = (text.cut(name, max(4, len(name) - over), "~"), "bar-strong")
    gap = width - text.length((*start, *middle, *ends))
    return text.fit((*start, *middle, (" " * max(0, gap), "bar"), *ends), width)


def _nameless(view: View) -> str:
    if not view.live:
        return "a run's log"
    return "fedtui" if view.reading else "no site"


def attention(view: View, width: int) -> Line:
    """The alarm row: a note on what was just done, else what needs attention most."""
    if view.note:
        return text.fit(((" NOTE ", "note"), (" " + view.note, "")), width, view.glyphs.ellipsis)
    prefix, role, sentence = alarm(view)
    return text.fit(((f" {prefix:<4} ", role), (" " + sentence, "")), width, view.glyphs.ellipsis)


def keys(valid: Sequence[Action], current: str, width: int) -> Line:
    """The keys valid now: what never gives way, then as many others as fit."""
    narrow = width < _WIDE
    shown = [_labelled(a, current, narrow=narrow) for a in valid if a.label]
    kept = [a for a in shown if a.always and not (narrow and a.name == "palette")]
    more = ", training continues"
    for action in (a for a in shown if not a.always and a.on):
        if _width([*kept, action], shown, narrow=narrow) <= width:
            kept.append(action)
    told = more if _width(kept, shown, narrow=narrow) + len(more) <= width else ""
    for action in (a for a in shown if a not in kept and not a.on):
        if _width([*kept, action], shown, narrow=narrow) + len(told) <= width:
            kept.append(action)
    spans: list[text.Span] = []
    for action in (a for a in shown if a in kept):
        label = action.label + (told if action.name == "leave" else "")
        role = "title" if action.screen == current else "dim"
        gap = "" if narrow and action.screen else " "
        spans += [(" ", ""), (action.shown, "key"), (gap + label, role)]
        spans += [] if narrow else [(" ", "")]
    return text.fit(tuple(spans), width, " ")


def _labelled(action: Action, current: str, *, narrow: bool) -> Action:
    """With the label that the row shows: short where columns are few, in capitals where we are."""
    short = narrow and action.short and action.screen
    label = action.short if short else action.label
    return replace(action, label=label.upper() if action.screen == current else label)


def _width(kept: Sequence[Action], shown: Sequence[Action], *, narrow: bool) -> int:
    return sum(
        len(a.shown) + len(a.label) + (1 if narrow else 2) + (0 if narrow and a.screen else 1)
        for a in shown
        if a in kept
    )
