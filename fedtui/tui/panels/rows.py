"""The rows that every screen has: header, alarm, keys."""

from collections.abc import Sequence
from dataclasses import replace

from fedtui.tui import text, words
from fedtui.tui.actions import Action
from fedtui.tui.text import Line
from fedtui.tui.view import View, alarm

_WIDE = 112  # columns; below, the header is short
_LABELLED = 140  # columns; from here on screens' whole names leave room for what can be done
_TINY = 64  # columns; below, other screens go by their numbers alone
_STUDY = len("  study ")
_SHORT = 8  # characters that a name keeps while another one can give way
_STUDY = len("  study ")
_SHORT = 8  # characters that a name keeps while another one can give way
_ROLES = {"coordinator": "coord"}


def header(view: View, width: int) -> Line:
    """Site, role, study, phase, what has left, link, and how old the last news is.

    Where columns are few the roles are shortened, then names are cut, the study's first.
    """
    ends = _ends(view, width)
    lead = " fedtui  " if width >= _WIDE else " "
    name, phase, study = view.progress.site or _nameless(view), _phase(view), _study(view, width)
    least = study[: _STUDY + _SHORT]
    for roles in _roles(view):
        room = width - len(lead + name + roles + phase) - text.length(ends)
        if room >= len(least):
            break
    study = text.cut(study, max(room, len(least)), "~") if room > len("study") else ""
    name = text.cut(name, max(_SHORT, len(name) + min(0, room - len(study))), "~")
    start = ((lead, "bar"), (name, "bar-strong"), (roles, "bar"), (study, "bar"))
    gap = width - text.length((*start, (phase, ""), *ends))
    return text.fit((*start, (phase, "bar-strong"), (" " * max(0, gap), "bar"), *ends), width)


def _ends(view: View, width: int) -> Line:
    wide, tiny = width >= _WIDE, width < _TINY
    news = view.news.removeprefix("news ") if tiny else view.news
    if tiny and view.stale:
        news = ""
    link, role = view.link
    sent = view.sent
    ends = [
        (f"  run sent {words.size(sent)}" if sent is not None and not tiny else "", "bar"),
        ("  " if tiny else "  link ", "bar"),
        (link, "bar" if role == "ok" else "bar-fail"),
        ("  " + news if news else "", "bar"),
    ]
    if view.stale:
        ends.append((" STALE", "bar-fail"))
    if view.paused:
        ends.append((" HELD", "bar-fail"))
    if not view.live:
        ends.append(("  REPLAY", "bar-strong"))
    elif view.readonly:
        ends.append(("  viewer", "bar-strong"))
    elif wide:
        ends.append(("  operator", "bar"))
    return (*ends, (" ", "bar"))


def _phase(view: View) -> str:
    run = view.progress.run
    round_ = f" {run.round}/{run.rounds}" if run and not run.over and run.round else ""
    return f"  {view.phase}{round_}{' interop' if run and run.interop else ''}"


def _study(view: View, width: int) -> str:
    run = view.progress.run
    return f"  {'study ' if width >= _WIDE else ''}{run.study}" if run else ""


def _roles(view: View) -> tuple[str, ...]:
    """From whole to nothing; of two, that it coordinates: everybody knows that a site trains."""
    roles = view.progress.roles
    if not roles:
        return ("",)
    short = " (coord)" if view.coordinates else " (site)"
    return (f" ({'+'.join(roles)})", short, "") if view.live else (short, "")


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
    narrow = width < _LABELLED
    shown = [_labelled(a, current, narrow=narrow, tiny=width < _TINY) for a in valid if a.label]
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


def _labelled(action: Action, current: str, *, narrow: bool, tiny: bool) -> Action:
    """With the label that the row shows: short where columns are few, in capitals where we are."""
    short = narrow and action.short and action.screen
    label = action.short if short else action.label
    if tiny and action.screen and action.screen != current:
        label = ""
    return replace(action, label=label.upper() if action.screen == current else label)


def _width(kept: Sequence[Action], shown: Sequence[Action], *, narrow: bool) -> int:
    return sum(
        len(a.shown) + len(a.label) + (1 if narrow else 2) + (0 if narrow and a.screen else 1)
        for a in shown
        if a in kept
    )
