"""The measurements of a made-up MIMIC-IV: vital signs, blood values, urine, and what is odd."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets._synth_mimic_iv import Stays

HOUR = 3600  # seconds
# item, name, unit, mean, change for one of severity, noise of one measurement
_VITALS = (
    (220045, "Heart Rate", "bpm", 85.0, 10.0, 8.0),
    (220179, "Non Invasive Blood Pressure systolic", "mmHg", 122.0, -11.0, 9.0),
    (220180, "Non Invasive Blood Pressure diastolic", "mmHg", 66.0, -6.0, 7.0),
    (220181, "Non Invasive Blood Pressure mean", "mmHg", 82.0, -7.0, 7.0),
    (220210, "Respiratory Rate", "insp/min", 18.0, 2.5, 3.0),
    (223761, "Temperature Fahrenheit", "°F", 98.4, 0.5, 0.6),
    (220277, "O2 saturation pulseoxymetry", "%", 96.0, -1.0, 1.0),
    (220739, "GCS - Eye Opening", "", 3.2, -0.5, 0.4),
    (223900, "GCS - Verbal Response", "", 3.8, -0.6, 0.4),
    (223901, "GCS - Motor Response", "", 5.2, -0.5, 0.4),
    (226512, "Admission Weight (Kg)", "kg", 80.0, 0.0, 15.0),
)
_LABS = (
    (50813, "Lactate", "mmol/L", 2.0, 0.6, 0.3),
    (50912, "Creatinine", "mg/dL", 1.5, 0.3, 0.2),
    (51006, "Urea Nitrogen", "mg/dL", 28.0, 6.0, 4.0),
    (50882, "Bicarbonate", "mEq/L", 24.0, -2.0, 1.5),
    (50983, "Sodium", "mEq/L", 139.0, 0.0, 3.0),
    (50971, "Potassium", "mEq/L", 4.2, 0.1, 0.4),
    (51301, "White Blood Cells", "K/uL", 11.0, 1.5, 2.0),
    (51265, "Platelet Count", "K/uL", 210.0, -20.0, 30.0),
    (51222, "Hemoglobin", "g/dL", 10.8, -0.4, 0.8),
)
_DISTRACTORS = np.arange(228_000, 228_060)  # items that nobody asks for
_BOUNDS = {220739: (1, 4), 223900: (1, 5), 223901: (1, 6), 220277: (50, 100)}


def write_events(
    folder: Path,
    stays: "Stays",
    random: np.random.Generator,
    planted: dict[str, int],
    *,
    packed: bool,
    distractors: int,
) -> None:
    """chartevents, labevents, outputevents, d_items and d_labitems."""
    from datasets._synth_mimic_iv import save

    chart = _measured(stays, random, _VITALS, hours=np.arange(-8, 31), share=0.85)
    _spoil(chart, stays, random, planted)
    _widen(chart, stays, random, distractors)
    save(folder, "icu/chartevents", _chart_columns(chart, stays), packed=packed)
    labs = _measured(stays, random, _LABS, hours=np.array([-4, 2, 8, 14, 20, 26]), share=0.8)
    save(folder, "hosp/labevents", _lab_columns(labs, stays, random, planted), packed=packed)
    save(folder, "icu/outputevents", _outputs(stays, random, planted), packed=packed)
    items = [*_VITALS, (226559, "Foley", "mL"), (227488, "GU Irrigant Volume In", "mL")]
    columns: dict[str, Any] = {
        "itemid": [item[0] for item in items],
        "label": [item[1] for item in items],
        "abbreviation": [item[1] for item in items],
        "linksto": ["chartevents"] * len(_VITALS) + ["outputevents"] * 2,
        "category": ["Routine"] * len(items),
        "unitname": [item[2] for item in items],
        "param_type": ["Numeric"] * len(items),
        "lownormalvalue": [None] * len(items),
        "highnormalvalue": [None] * len(items),
    }
    save(folder, "icu/d_items", columns, packed=packed)
    columns = {
        "itemid": [item[0] for item in _LABS],
        "label": [item[1] for item in _LABS],
        "fluid": ["Blood"] * len(_LABS),
        "category": ["Chemistry"] * len(_LABS),
    }
    save(folder, "hosp/d_labitems", columns, packed=packed)


def _measured(
    stays: "Stays", random: np.random.Generator, items: Any, *, hours: Any, share: float
) -> dict[str, Any]:
    """One row for each stay, hour and item that was measured: stay, item, time, value, stored."""
    shape = (len(stays.stay), len(hours), len(items))
    seen = random.random(shape) < share
    stay, hour, item = np.nonzero(seen)
    middle, slope, noise = (np.array([row[k] for row in items]) for k in (3, 4, 5))
    offset = np.where(middle[item] == 80.0, 5.0 * (stays.unit[stay] % 3), 0.0)  # scales differ
    value = middle[item] + slope[item] * stays.z[stay] + offset
    value += noise[item] * random.normal(size=len(stay))
    after = hours[hour] >= 24
    # The answer, for whoever reads past the first day.
    value = np.where(after, middle[item] + 9 * slope[item] * stays.died[stay], value)
    number = np.array([row[0] for row in items])[item]
    for code, (low, high) in _BOUNDS.items():
        chosen = number == code
        value[chosen] = np.clip(value[chosen], low, high)
        if code != 220277:
            value[chosen] = value[chosen].round()
    time = stays.start[stay] + hours[hour] * HOUR + random.integers(0, 59, len(stay)) * 60
    stored = time + random.integers(1, 90, len(stay)) * 60
    return {
        "stay": stay,
        "item": number,
        "time": time,
        "value": np.maximum(value, 0.1).round(1),
        "stored": stored,
        "text": np.zeros(len(stay), dtype=np.int8),  # 1: only words; 2: a tube
    }


def _spoil(
    rows: dict[str, Any], stays: "Stays", random: np.random.Generator, planted: dict[str, int]
) -> None:
    """Lays the chart's traps, in place."""
    inside = (rows["time"] >= stays.start[rows["stay"]]) & (
        rows["time"] < stays.start[rows["stay"]] + 24 * HOUR
    )

    def some(trap: str, item: int, share: float) -> Any:
        chosen = np.flatnonzero(inside & (rows["item"] == item))
        chosen = chosen[random.random(len(chosen)) < share]
        planted[trap] = len(chosen)
        return chosen

    rows["value"][some("a heart rate of 0", 220045, 0.01)] = 0.0
    rows["value"][some("a mean pressure of -23", 220181, 0.01)] = -23.0
    rows["value"][some("a mean pressure of 801", 220181, 0.01)] = 801.0
    rows["value"][some("a respiratory rate of 0", 220210, 0.01)] = 0.0
    celsius = some("a temperature in Celsius", 223761, 0.2)
    rows["item"][celsius] = 223762
    rows["value"][celsius] = ((rows["value"][celsius] - 32) / 1.8).round(2)
    wrong = celsius[: max(1, len(celsius) // 20)]
    rows["value"][wrong] = 98.6
    planted["Fahrenheit in the item for Celsius"] = len(wrong)
    tube = some("a tube instead of an answer", 223900, 0.1)
    rows["text"][tube], rows["value"][tube] = 2, 1.0
    rows["text"][some("only words", 220739, 0.02)] = 1
    planted["before the stay"] = int((rows["time"] < stays.start[rows["stay"]]).sum())
    planted["after the first day"] = int(
        (rows["time"] >= stays.start[rows["stay"]] + 24 * HOUR).sum()
    )
    late = some("stored after the first day", 220045, 0.03)
    rows["stored"][late] = stays.start[rows["stay"][late]] + 30 * HOUR
    rows["value"][late] = np.where(stays.died[rows["stay"][late]], 250.0, 20.0)
    twice = np.flatnonzero(inside)[::97]
    planted["a row twice"] = len(twice)
    for name, values in rows.items():
        rows[name] = np.concatenate([values, values[twice]])


def _widen(
    rows: dict[str, Any], stays: "Stays", random: np.random.Generator, distractors: int
) -> None:
    """Adds rows of items that nobody asks for, and sorts as PhysioNet does; in place."""
    stay = random.integers(0, len(stays.stay), distractors)
    time = stays.start[stay] + random.integers(-8, 60, distractors) * HOUR
    more = {
        "stay": stay,
        "item": random.choice(_DISTRACTORS, distractors),
        "time": time,
        "value": random.integers(0, 1000, distractors) / 10,
        "stored": time + HOUR,
        "text": np.zeros(distractors, dtype=np.int8),
    }
    for name, values in rows.items():
        rows[name] = np.concatenate([values, more[name]])
    order = np.lexsort((rows["time"], rows["stay"]))
    for name, values in rows.items():
        rows[name] = values[order]


def _stamps(seconds: Any) -> Any:
    import polars as pl

    return pl.from_epoch(pl.Series(seconds), time_unit="s").dt.strftime("%Y-%m-%d %H:%M:%S")


def _chart_columns(rows: dict[str, Any], stays: "Stays") -> dict[str, Any]:
    import polars as pl

    number = pl.Series(rows["value"])
    words = pl.Series(np.array(["", "Spontaneously", "No Response-ETT"])[rows["text"]])
    text = pl.Series(rows["text"])
    frame = pl.DataFrame({"number": number, "words": words, "text": text})
    frame = frame.select(
        value=pl.when(text == 0).then(pl.col("number").cast(pl.String)).otherwise(pl.col("words")),
        valuenum=pl.when(text == 1).then(None).otherwise(pl.col("number")),
    )
    return {
        "subject_id": stays.subject[rows["stay"]],
        "hadm_id": stays.admission[rows["stay"]],
        "stay_id": stays.stay[rows["stay"]],
        "caregiver_id": np.full(len(text), 7),
        "charttime": _stamps(rows["time"]),
        "storetime": _stamps(rows["stored"]),
        "itemid": rows["item"],
        "value": frame["value"],
        "valuenum": frame["valuenum"],
        "valueuom": pl.Series([""]).new_from_index(0, len(text)),
        "warning": np.zeros(len(text), dtype=np.int64),
    }


def _lab_columns(
    rows: dict[str, Any], stays: "Stays", random: np.random.Generator, planted: dict[str, int]
) -> dict[str, Any]:
    count = len(rows["stay"])
    lost = random.random(count) < 0.18
    words = random.random(count) < 0.02
    planted["a blood value without an admission"] = int(lost.sum())
    planted["a blood value in words"] = int(words.sum())
    empty = [None] * count
    admission = stays.admission[rows["stay"]].tolist()
    value = rows["value"].tolist()
    return {
        "labevent_id": np.arange(count),
        "subject_id": stays.subject[rows["stay"]],
        "hadm_id": [None if gone else a for gone, a in zip(lost, admission, strict=True)],
        "specimen_id": np.arange(count),
        "itemid": rows["item"],
        "order_provider_id": empty,
        "charttime": _stamps(rows["time"]),
        "storetime": _stamps(rows["stored"]),
        "value": ["___" if w else str(v) for w, v in zip(words, value, strict=True)],
        "valuenum": [None if w else v for w, v in zip(words, value, strict=True)],
        "valueuom": empty,
        "ref_range_lower": empty,
        "ref_range_upper": empty,
        "flag": empty,
        "priority": empty,
        "comments": empty,
    }


def _outputs(
    stays: "Stays", random: np.random.Generator, planted: dict[str, int]
) -> dict[str, Any]:
    hours = np.arange(2, 27, 4)
    stay = np.repeat(np.arange(len(stays.stay)), len(hours))
    hour = np.tile(hours, len(stays.stay))
    value = np.clip(300 - 60 * stays.z[stay] + random.normal(0, 60, len(stay)), 0, 2000).round()
    irrigant = random.random(len(stay)) < 0.02
    planted["irrigant that went in"] = int(irrigant.sum())
    time = stays.start[stay] + hour * HOUR
    return {
        "subject_id": stays.subject[stay],
        "hadm_id": stays.admission[stay],
        "stay_id": stays.stay[stay],
        "caregiver_id": np.full(len(stay), 7),
        "charttime": _stamps(time),
        "storetime": _stamps(time + 600),
        "itemid": np.where(irrigant, 227488, 226559),
        "value": value,
        "valueuom": ["mL"] * len(stay),
    }
