"""Identifiers of people in words that leave a site: found and taken out, as a last line of defence.

No sentence of fedtui quotes a cell; this is for the day that one does. Names cannot be told from
other words, so they are kept out where sentences are made.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

PERSONAL, RECORD = "[personal number removed]", "[record number removed]"

# Swedish personal and coordination numbers: YYMMDD-NNNN, with or without century and sign. A
# number inside a longer word, hash, decimal or dotted address is none; nor is one with a unit.
_PERSONAL = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9][.,:])(?P<century>(?:18|19|20)(?=[0-9]{6}[-+ ]?[0-9]{4}))?"
    r"(?P<year>[0-9]{2})(?P<month>[0-9]{2})(?P<day>[0-9]{2})(?P<sign>[-+\u2013\u2212 ]?)"
    r"(?P<last>[0-9]{4})(?![0-9A-Za-z_])(?![.,:][0-9])"
    r"(?![ ]?(?:bytes|[kMGT]?i?B|[numµ]?s|seconds|rows|examples|patients|parameters)\b)"
)
# MIMIC-IV's subject_id, hadm_id and stay_id: eight digits that begin with 1, 2 or 3, which by
# themselves are any number; the word before decides.
_RECORD = re.compile(
    r"(?P<word>\b(?:subject|hadm|stay|patient|admission|transfer|icustay)s?"
    r"(?:[_ ]?(?:ids?|no|nr|number))?[\"'\])]*[ ]?(?:[:=#]|is|in)?[ ]?[\"'(\[]*)"
    r"(?P<ids>[1-3][0-9]{7}(?![0-9])(?:[\"']?[ ]?[,;/ ][ ]?[\"']?[1-3][0-9]{7}(?![0-9]))*)",
    re.IGNORECASE,
)
_COORDINATION = 60  # added to the day in a coordination number
_EARLIEST = 1890


def scrubbed(text: str) -> str:
    """``text`` without personal numbers (date and checksum hold) and MIMIC's record numbers."""
    without = _PERSONAL.sub(lambda found: PERSONAL if _is_personal(found) else found[0], text)
    return _RECORD.sub(lambda found: found["word"] + RECORD, without)


def scrubbed_tree(document: Any) -> Any:
    """The same for every text in a JSON value, keys included; numbers are left as they are."""
    if isinstance(document, str):
        return scrubbed(document)
    if isinstance(document, Mapping):
        return {scrubbed(str(key)): scrubbed_tree(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [scrubbed_tree(item) for item in document]
    return document


def _is_personal(found: re.Match[str]) -> bool:
    day = int(found["day"])
    day -= _COORDINATION if day > _COORDINATION else 0
    digits = found["year"] + found["month"] + found["day"] + found["last"]
    return _checks(digits) and any(
        _is_date(int(century + found["year"]), int(found["month"]), day)
        for century in ([found["century"]] if found["century"] else ["19", "20"])
    )


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        return _EARLIEST <= date(year, month, day).year <= date.today().year
    except ValueError:
        return False


def _checks(digits: str) -> bool:
    """Luhn's checksum over ten digits, the last of which is the check digit."""
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(digits)]
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0
