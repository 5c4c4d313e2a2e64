"""Numbers of people are taken out of words; times, sizes and hashes are left alone."""

import datetime
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtui import identifiers
from fedtui.identifiers import PERSONAL, RECORD, scrubbed

BIRTHS = st.dates(datetime.date(1900, 1, 1), datetime.date(2020, 12, 31))


def check_digit(nine: str) -> int:
    """By Skatteverket's description: times 2, 1, 2, ..., digits added, up to the next ten."""
    total = 0
    for place, digit in enumerate(nine):
        product = int(digit) * (2 if place % 2 == 0 else 1)
        total += product if product < 10 else product - 9
    return (10 - total % 10) % 10


def personal(born: datetime.date, number: int, *, coordination: bool) -> tuple[str, str, str]:
    """Century, date and the last four of a made-up person."""
    day = born.day + (60 if coordination else 0)
    six = f"{born:%y%m}{day:02d}"
    return f"{born:%Y}"[:2], six, f"{number:03d}{check_digit(f'{six}{number:03d}')}"


@given(
    BIRTHS,
    st.integers(0, 999),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "-", "+", " "]),
    st.sampled_from(["the cell '{}'", "({})", "{}", "pnr={};", '{{"id": "{}"}}', "row {}, x"]),
)
def test_personal_and_coordination_numbers_are_taken_out_however_they_are_written(
    born: datetime.date, number: int, coordination: bool, full: bool, sign: str, words: str
) -> None:
    century, six, last = personal(born, number, coordination=coordination)
    written = f"{century if full else ''}{six}{sign}{last}"

    clean = scrubbed(words.format(written))

    assert clean == words.format(PERSONAL)


# Skatteverket's own numbers for tests: nobody has them.
@pytest.mark.parametrize("number", ["19900101-2385", "900101-2385", "190001019801", "199001012385"])
def test_published_test_numbers_are_recognised(number: str) -> None:
    assert scrubbed(f"x {number} y") == f"x {PERSONAL} y"


def test_a_number_whose_date_or_checksum_does_not_hold_is_left() -> None:
    for number in ("900101-2386", "901301-2384", "900132-2382", "20991231-1234"):
        assert scrubbed(f"cell {number}") == f"cell {number}"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("subject_id 10000032 is missing", f"subject_id {RECORD} is missing"),
        ("hadm_id=22595853", f"hadm_id={RECORD}"),
        ("'stay_id': 39553978", f"'stay_id': {RECORD}"),
        ("subjects 10000032, 10001217 and more", f"subjects {RECORD} and more"),
        ("STAY_ID: '39553978'", f"STAY_ID: '{RECORD}'"),
        ("patient 10000032", f"patient {RECORD}"),
    ],
)
def test_record_numbers_of_mimic_are_taken_out_where_a_word_says_what_they_are(
    text: str, clean: str
) -> None:
    assert scrubbed(text) == clean


@given(
    st.integers(0, 10**13),
    st.floats(0, 2e9, allow_nan=False),
    st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2099, 1, 1)),
    st.binary(),
)
def test_sizes_times_and_hashes_are_left_alone(
    size: int, seconds: float, moment: datetime.datetime, data: bytes
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    words = (
        f"{size} bytes sent in {seconds:.3f} s, {size} examples; {size:,} rows; "
        f"run digits-{moment:%y%m%d-%H%M%S} at {moment.isoformat()} {moment:%Y-%m-%d %H:%M:%S}; "
        f"sha256 {digest}, {digest[:12]}; 192.168.{size % 256}.1:8443, version 1.{size % 100}.2"
    )

    assert scrubbed(words) == words


@given(st.text())
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    assert scrubbed(scrubbed(text)) == scrubbed(text)


def test_a_json_tree_is_scrubbed_in_its_texts_and_keys_and_nowhere_else() -> None:
    tree = {"900101-2385": [9001012385, "900101-2385", None, {"a": ("b", 1.5)}]}

    clean = identifiers.scrubbed_tree(tree)

    assert clean == {PERSONAL: [9001012385, PERSONAL, None, {"a": ["b", 1.5]}]}
    json.dumps(clean)
