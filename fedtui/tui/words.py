"""Numbers as an operator reads them: ages, spans of time, sizes, states."""

import time

from fedtui.progress import RunProgress, SiteProgress, shown_state

PATIENCE_SECONDS = 10.0  # sites differ in speed; below this, one that works longer is no news
STEP_SECONDS = 5  # ages move in steps of this, so that a quiet screen sends nothing in between
# The shape of a state, so that it never rests on colour alone.
SHAPES = {
    "WAITING": "-",
    "PREPARING": ">",
    "TRAINING": ">",
    "EVALUATING": ">",
    "ANSWERED": "=",
    "REFUSED": "!",
    "SILENT": "x",
}
ROLES = {
    "WAITING": "dim",
    "PREPARING": "work",
    "TRAINING": "work",
    "EVALUATING": "work",
    "ANSWERED": "ok",
    "REFUSED": "fail",
    "SILENT": "fail",
    "RUNNING": "work",
    "PAUSED": "wait",
    "COMPLETED": "ok",
    "FAILED": "fail",
    "STOPPED": "wait",
}

_INITIALS = ("auroc", "auprc")
NO_MATCH = "Nothing matches: / changes the filter, Esc there clears it."

# What a check came to, with its shape; the worst first.
VERDICTS = {
    "FAIL": ("x FAIL", "fail"),
    "WARN": ("! WARN", "warn"),
    "UNKNOWN": ("? UNKNOWN", "wait"),
    "OK": ("= OK", "ok"),
    "SKIP": ("- SKIP", "dim"),
}


def holds(told: str, wanted: str) -> bool:
    """Whether a line has every word of a filter, in whatever case."""
    told = told.lower()
    return all(word in told for word in wanted.lower().split())


def verdict(state: str) -> tuple[str, str]:
    """A check's state as shape and word, and its role."""
    return VERDICTS.get(state, ("? UNKNOWN", "wait"))


def age(seconds: float) -> str:
    """How long ago, in steps: 'now', '5 s', '2 min', '3 h', '4 d'."""
    if seconds < STEP_SECONDS:
        return "now"
    if seconds < 60:
        return f"{int(seconds // STEP_SECONDS) * STEP_SECONDS} s"
    return span(seconds)


def lasting(seconds: float) -> str:
    """How long something goes on by now, in the steps of ``age``: '5 s', '40 s', '3 min'."""
    steps = max(0, int(seconds // STEP_SECONDS)) * STEP_SECONDS
    return f"{steps} s" if steps < 90 else span(steps)


def span(seconds: float) -> str:
    """A length of time in its largest unit that tells enough: '41 s', '3 min', '2 h 10 min'."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 90:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    hours, minutes = divmod(whole // 60, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d"


def clock(seconds: float) -> str:
    """Time of day here."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def size(count: float) -> str:
    """Bytes with two or three digits that matter: '912 B', '35.9 kB', '1.2 GB'."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"


def rough(count: float) -> str:
    """Bytes in whole units: for what changes all the time, and on screen need not."""
    unit = "GB" if count >= 1e10 else "MB"
    return f"{count / (1e9 if unit == 'GB' else 1e6):.0f} {unit}"


def count(number: int) -> str:
    """A whole number, thousands set apart by a space."""
    return f"{number:,}".replace(",", " ")


def metric(name: str) -> str:
    """A metric as people write it."""
    return name.upper() if name in _INITIALS else name.replace("_", " ")


def title(name: str) -> str:
    """The same at the head of a panel."""
    told = metric(name)
    return told[:1].upper() + told[1:]


def value(number: float | None) -> str:
    """A loss or metric, or '--' where there is none."""
    if number is None:
        return "--"
    return f"{number:.3f}" if abs(number) < 100 else f"{number:.3g}"


def state(site: SiteProgress) -> tuple[str, str]:
    """A site's state as shape and word, and its role."""
    word = shown_state(site)
    return f"{SHAPES[word]} {word}", ROLES[word]


def remaining(run: RunProgress) -> str:
    """What is left of a run, from the rounds so far; empty before the first has ended."""
    rounds = run.rounds - len(run.history)
    if run.over or run.seconds_a_round is None or not rounds:
        return ""
    return f"{span(rounds * run.seconds_a_round)} left"


def waiting(run: RunProgress, now: float) -> tuple[str, ...]:
    """Who holds the run up: silent sites, or the last ones that others wait for."""
    if run.over or run.state == "PAUSED":
        return ()
    silent = tuple(n for n in run.awaited if not run.sites[n].here)
    if silent:
        return silent
    answered = any(s.state == "ANSWERED" for s in run.sites.values())
    if answered and now - run.asked >= PATIENCE_SECONDS:
        return run.awaited
    return ()
