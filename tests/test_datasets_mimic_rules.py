"""MIMIC-IV's rules on rows written by hand, one at a time."""

import math
from pathlib import Path

import pytest

import datasets
from datasets._mimic_cohort import cohort
from datasets._mimic_concepts import CONCEPTS
from datasets._mimic_events import first_day
from tests.mimic_by_hand import MORNING, NIGHT, chart, hand


def first(data_path: Path, concept: str) -> list[float]:
    """min, mean, max, last of stay 3000."""
    day = first_day(data_path, cohort(data_path))
    number = [c.name for c in CONCEPTS].index(concept)
    return [float(value) for value in day.table[0, number]]


CASES = {
    "minimum, mean, maximum and last": (
        chart(220045, (MORNING, "80"), (NIGHT, "90"), ("2151-01-01 09:00:00", "70")),
        "heart_rate", [70, 80, 90, 90]),
    "six hours before count": (
        chart(220045, ("2151-01-01 00:00:00", "50"), ("2150-12-31 23:59:00", "99")),
        "heart_rate", [50] * 4),
    "the day's end does not": (
        chart(220045, (MORNING, "50"), ("2151-01-02 06:00:00", "99")), "heart_rate", [50] * 4),
    "what was stored later was not known": (
        chart(220045, (MORNING, "50")) + chart(220045, (MORNING, "99"),
              stored="2151-01-02 06:00:01"), "heart_rate", [50] * 4),
    "a row twice is one": (
        chart(220045, (MORNING, "50"), (MORNING, "50"), ("2151-01-01 08:00:00", "80")),
        "heart_rate", [50, 65, 80, 80]),
    "two devices at one time are their mean": (
        chart(220179, (MORNING, "100")) + chart(220050, (MORNING, "120")), "systolic", [110] * 4),
    "implausible is missing": (
        chart(220045, (MORNING, "0"), (MORNING, "301")), "heart_rate", [math.nan] * 4),
    "MAP -23 and 801": (
        chart(220052, (MORNING, "-23"), (MORNING, "801"), (MORNING, "75")), "mean_pressure",
        [75] * 4),
    "Fahrenheit becomes Celsius": (chart(223761, (MORNING, "98.6")), "temperature", [37] * 4),
    "Fahrenheit in the item for Celsius": (
        chart(223762, (MORNING, "98.6"), (MORNING, "36.5")), "temperature", [36.5] * 4),
    "oxygen as a share": (chart(223835, (MORNING, "0.4")), "fio2", [40] * 4),
    "a tube is no answer": (
        chart(223900, (MORNING, "1"), word="No Response-ETT"), "gcs_verbal", [math.nan] * 4),
    "no answer is one": (
        chart(223900, (MORNING, "1"), word="No Response"), "gcs_verbal", [1] * 4),
    "only words": (chart(220045, (MORNING, ""), word="fast"), "heart_rate", [math.nan] * 4),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_chart_of_one_stay(tmp_path: Path, case: str) -> None:
    rows, concept, expected = CASES[case]

    found = first(hand(tmp_path / "m", chart=rows), concept)

    assert found == pytest.approx(expected, nan_ok=True, abs=1e-3)  # rounded to 1/10,000


def test_a_blood_value_without_an_admission_is_found_by_patient_and_time(tmp_path: Path) -> None:
    lab = "1000,,2151-01-01 08:00:00,,50912,1.5\n1000,,2151-01-05 08:00:00,,50912,9.5\n"

    assert first(hand(tmp_path / "m", lab=lab), "creatinine") == [1.5] * 4


def test_irrigant_is_taken_from_the_urine_of_the_day(tmp_path: Path) -> None:
    output = "".join(
        f"3000,2151-01-01 {hour:02}:00:00,,{item},{value}\n"
        for hour, item, value in (
            (5, 226559, 9),
            (6, 226559, 300),
            (7, 227488, 100),
            (7, 226559, 50),
        )
    )

    assert first(hand(tmp_path / "m", output=output), "urine") == [250] * 4


def test_a_series_has_each_hours_mean(tmp_path: Path) -> None:
    rows = chart(
        220045, ("2151-01-01 03:00:00", "50"), (MORNING, "60"), ("2151-01-01 07:30:00", "70")
    )
    data = datasets.load("mimic_iv_series", path=hand(tmp_path / "m", chart=rows))

    assert data.gives == "series"
    assert data.train.x.shape == (70, 24, 44)
    pulse = [feature.name for feature in data.features].index("heart_rate")
    splits = (data.train, data.validation, data.test)
    (seen,) = [s.x[i, :, pulse] for s in splits for i in range(len(s)) if s.mask[i, :, pulse].any()]
    assert seen[:3].tolist() == [50, 65, 0]
    statistics = datasets.statistics(data.train)
    assert statistics.count[0] == 70 * 24  # the age, in every hour
    n = datasets.agree(statistics, data.features)
    assert datasets.standardise(data.train, n).shape == data.train.x.shape


def test_long_stays_are_those_of_more_than_three_days(tmp_path: Path) -> None:
    data = datasets.load(
        "mimic_iv_los", path=hand(tmp_path / "m", chart=chart(220045, (MORNING, "80")))
    )

    assert data.classes == ("3 days or less", "more than 3 days")
    assert data.train.y.mean() == pytest.approx(0.5, abs=0.01)
