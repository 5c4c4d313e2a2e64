"""What ``fedtui data`` prints: violations, counts and histograms in 80 columns, and no value."""

from collections.abc import Iterator, Sequence
from typing import Any

_BARS = " .:-=+*#"
LEGEND = (
    "  last column: how often values lie in ten steps from the 5th to the 95th\n"
    "  percentile (no and yes: two); ' ' is never, '#' most often, '?' too few"
)
_FLAGS = ("_missing", "_measured")
_MOST_PARTS = 6


def lines(found: list[Any]) -> Iterator[str]:
    """One line for what is wrong in the same way in one column, with its row numbers."""
    rows: dict[tuple[Any, ...], list[int]] = {}
    for one in found:
        same = (one.blocks, one.file, one.column, one.what, one.remedy)
        rows.setdefault(same, []).extend([] if one.row is None else [one.row])
    for (blocks, file, column, what, remedy), numbers in rows.items():
        where = f", row{'s' * (len(numbers) > 1)} {_ranges(numbers)}" if numbers else ""
        named_ = f", {column}" if column else ""
        yield f"{'FAIL' if blocks else 'WARN'} {file}{where}{named_}: {what}. {remedy}"


def _ranges(numbers: list[int], most: int = 8) -> str:
    """'3, 7-9, 12'; after ``most`` pieces the rest is counted."""
    pieces: list[list[int]] = []
    for number in sorted(set(numbers)):
        if pieces and number == pieces[-1][1] + 1:
            pieces[-1][1] = number
        else:
            pieces.append([number, number])
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in pieces[:most]]
    left = sum(b - a + 1 for a, b in pieces[most:])
    return ", ".join(shown) + (f" and {left} more" if left else "")


def beside(told: dict[str, Any]) -> Iterator[str]:
    """What a data set says beside the usual: who was left out by which rule, and the like."""
    for loss in told.get("attrition", ()):
        yield f"{few(loss['stays_out']):>9} stays out: {loss['rule']}"
    if told.get("attrition"):
        last = told["attrition"][-1]
        yield f"{few(last['stays']):>9} stays of {few(last['patients'])} patients are the cohort"
    if events := told.get("events"):
        known = [one["plausible"] for one in events.values() if one["plausible"] is not None]
        yield f"{sum(known):>9,} plausible events of {len(events)} concepts"
    if told.get("missing_tables"):
        yield f"          missing tables: {', '.join(told['missing_tables'])}"
    if "duplicates_removed" in told:
        yield f"{few(told['duplicates_removed']):>9} duplicates removed"
    for site, count in told.get("sites", {}).items():
        yield f"{few(count):>9} images acquired by {site}"


def first(parts: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = len(parts) - _MOST_PARTS
    return ", ".join(parts[:_MOST_PARTS]) + (f", … and {more} more (--json)" if more > 0 else "")


def is_flag(feature: dict[str, Any]) -> bool:
    """Whether the column only says that another one was measured, or was not."""
    return str(feature["name"]).endswith(_FLAGS)


def few(value: float | None) -> str:
    """The number, or that too few patients stand behind it."""
    return "few" if value is None else f"{value:,}"


def shift(value: float | None) -> str:
    """Deviations from what was agreed on."""
    return "" if value is None else f"{value:+.2f}"


def missing(feature: dict[str, Any]) -> str:
    """How much is missing: per cent, or in a word where that would give a small count away."""
    value: float | None = feature["missing"]
    return str(feature["missing_is"]) if value is None else f"{value:.1%}"


def count(feature: dict[str, Any]) -> str:
    """How many values there are; hidden where the number of all would give away who lacks them."""
    return "hidden" if feature["missing_is"] in ("few", "hidden") else few(feature["count"])


def histogram(feature: dict[str, Any]) -> str:
    """Counts as a row of marks; '?' where the count is too small to show."""
    counts = feature.get("counts") or []
    most = max((count for count in counts if count), default=1)
    marks = (
        "?" if count is None else _BARS[min(len(_BARS) - 1, count * len(_BARS) // (most + 1))]
        for count in counts
    )
    return "".join(marks)
