"""Where log lines go: stdout, a file that only its owner reads, or the host's syslog."""

import calendar
import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fedtui.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@contextlib.contextmanager
def open_sink(to: str) -> Iterator[Callable[[str], None]]:
    """A function that takes one line; ``to`` is '' for stdout, 'syslog', or a file to append to."""
    if not to:
        yield lambda line: print(line, flush=True)  # noqa: T201 - results go to stdout
    elif to == "syslog":
        import syslog

        syslog.openlog("fedtui", syslog.LOG_PID, syslog.LOG_DAEMON)
        priorities = {"WARN": syslog.LOG_WARNING, "ERROR": syslog.LOG_ERR}

        def send(line: str) -> None:
            level = next((name for name in priorities if name in line[:20]), "")
            syslog.syslog(priorities.get(level, syslog.LOG_INFO), line)

        yield send
        syslog.closelog()
    else:
        path = Path(to)
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:

            def write(line: str) -> None:
                file.write(line + "\n")
                file.flush()

            yield write


def parse_since(text: str) -> float:
    """Seconds since 1970 from '90m' before now, or from a UTC date or time; '' is the beginning.

    Raises:
        UsageError: it is neither.
    """
    if not text:
        return 0.0
    if ago := re.fullmatch(r"(\d+)([smhd])", text):
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    for pattern in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        with contextlib.suppress(ValueError):
            return float(calendar.timegm(time.strptime(text.rstrip("Z"), pattern)))
    raise UsageError(
        f"--since {text} is no time.", remedy="Write 90m, 2h, 3d, 2026-11-23 or 2026-11-23T10:00."
    )


def parse_level(text: str) -> str:
    """INFO, WARN or ERROR, in any case.

    Raises:
        UsageError: it is none of them.
    """
    level = text.upper()
    if level not in ("INFO", "WARN", "ERROR"):
        raise UsageError(f"--level {text} is no level.", remedy="Choose INFO, WARN or ERROR.")
    return level
